"""Rows of a parquet file, or one sentence on what stands in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finemem_pipeline.benchmarks.faults import guess
from finemem_pipeline.errors import DataError

_MAGIC = b"PAR1"
_POINTER = b"version https://git-lfs"


def columns_of(file: Path, remedy: str) -> list[str]:
    """The names of the columns. Raises DataError if the file is no parquet file or not a whole one.

    `remedy` is the sentence that tells how to get the real file.
    """
    import pyarrow.parquet as pq

    _refuse_stand_ins(file, remedy)
    try:
        return list(pq.read_schema(file).names)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: the description of its columns is damaged ({_first_line(error)}). {remedy}"
        ) from error


def read_rows(
    file: Path, needed: Sequence[str], optional: Sequence[str], remedy: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, row) with the needed columns and those of the optional ones that are there.

    Rows are decoded one by one: one may hold megabytes. Raises DataError as `columns_of`, for needed columns that are
    missing, and where the data is damaged, with the row.
    """
    import pyarrow.parquet as pq

    there = columns_of(file, remedy)
    missing = [name for name in needed if name not in there]
    if missing:
        guesses = "".join(guess(name, [each for each in there if each not in needed]) for name in missing)
        raise DataError(
            f"{file}: {'columns' if len(missing) > 1 else 'column'} {', '.join(missing)} missing.{guesses} "
            f"Needed: {', '.join(needed)}. Found: {', '.join(there)}. {remedy}"
        )
    number = 0
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            wanted = [name for name in there if name in {*needed, *optional}]
            for batch in opened.iter_batches(batch_size=1, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}:{number + 1}: the data is damaged from this row on ({_first_line(error)}). {remedy}"
        ) from error


def stand_in(file: Path) -> str | None:
    """What lies there instead of a data file: a Git LFS pointer, a web page, nothing. None if it may be data."""
    with file.open("rb") as stream:
        begin = stream.read(512)
    if begin.startswith(_POINTER):
        return "this is a Git LFS pointer, a few lines that name the data, not the data (git lfs pull fetches it)"
    if not begin:
        return "the file is empty"
    if begin.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "this is a web page, not the data: the page about the file was saved in place of the file"
    return None


def _refuse_stand_ins(file: Path, remedy: str) -> None:
    try:
        size = file.stat().st_size
        found = stand_in(file)
        with file.open("rb") as stream:
            begin = stream.read(len(_MAGIC))
            stream.seek(max(0, size - len(_MAGIC)))
            end = stream.read()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}.") from error
    if found is None and begin != _MAGIC:
        found = f"this is no parquet file: it begins with {begin!r}, not {_MAGIC!r}"
    if found is None and (end != _MAGIC or size < 3 * len(_MAGIC)):
        found = f"the file is cut off: it begins as parquet and has no end after {size:,} bytes"
    if found is not None:
        raise DataError(f"{file}: {found}. {remedy}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
