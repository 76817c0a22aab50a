"""JSON lines on disk: plain or gzip, read with their line numbers, written whole or not at all."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from finemem_pipeline.beside import beside

GZIP = b"\x1f\x8b"


class Truncated(Exception):
    """The compressed data ends early or is damaged; `line` is the first one that could not be read."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line without its end) of every line that is not blank.

    Gzip is told by the first two bytes, whatever the name. Raises Truncated if the compressed data is damaged.
    """
    number = 0
    with path.open("rb") as raw:
        packed = raw.read(2) == GZIP
        raw.seek(0)
        lines = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if packed else raw)
        try:
            for number, line in enumerate(lines, start=1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield number, text.rstrip(b"\r\n")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Truncated(number + 1, str(error)) from error


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """One JSON value per line, atomically; gzip where the name ends in .gz, without a time stamp in it,
    so that equal records give equal bytes."""
    with beside(path) as part, part.open("wb") as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                for record in records:
                    packed.write(encode(record))
        else:
            for record in records:
                raw.write(encode(record))


def encode(record: Any) -> bytes:
    """One line of JSON, ended. Text that UTF-8 cannot hold (lone surrogates of a model's reply) is escaped."""
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(record) + "\n").encode()
