"""One file each: streams, records as JSON lines, one JSON value, one text."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

from kedro.io.core import AbstractDataset, DatasetError

from finemem_pipeline.benchmarks.files import Truncated, read_lines, write_lines
from finemem_pipeline.benchmarks.realbench import dump, read_episodes, undump, write_episodes
from finemem_pipeline.beside import beside
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import DataError
from finemem_pipeline.store.places import Place, is_url, place

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class _FileDataset(AbstractDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """A dataset that is one file, at a path or a URL. Where there is none, `absent` is loaded, if one is given."""

    def __init__(self, *, filepath: str, absent: Any = None, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = filepath
        self._absent = absent
        self.metadata = metadata  # for Kedro plugins; not used here

    def load(self) -> Loaded:
        if self._absent is not None and not self._exists():
            absent: Loaded = copy(self._absent)
            return absent
        with self._here() as path:
            return self._read(path)

    @abstractmethod
    def _read(self, path: Path) -> Loaded:
        """What the file holds."""

    def _exists(self) -> bool:
        if is_url(self._filepath):
            folder, name = self._place()
            return name in folder.files(name)
        return Path(self._filepath).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

    @contextmanager
    def _here(self) -> Iterator[Path]:
        """The file on this disk, for as long as it is read."""
        if not self._exists():
            raise DatasetError(f"{self._filepath} is not there; run the pipeline that writes it first.")
        if not is_url(self._filepath):
            yield Path(self._filepath)
            return
        folder, name = self._place()
        with TemporaryDirectory(prefix="finemem-") as scratch:
            path = Path(scratch) / name
            folder.get({name: path})
            try:
                yield path
            except DataError as error:  # the user knows it by its URL
                raise DataError(str(error).replace(str(path), self._filepath)) from error

    @contextmanager
    def _written(self) -> Iterator[Path]:
        """Where to write it on this disk; it is in its place once the block ends well."""
        if not is_url(self._filepath):
            yield Path(self._filepath)
            return
        folder, name = self._place()
        with TemporaryDirectory(prefix="finemem-") as scratch:
            yield Path(scratch) / name
            folder.put({name: Path(scratch) / name})

    def _place(self) -> tuple[Place, str]:
        base, _, name = self._filepath.rpartition("/")
        return place(base), name


class EpisodesDataset(_FileDataset[Iterable[Episode], list[Episode]]):
    """Streams in the realbench schema, one per line; gzip where the name ends in .gz."""

    def _read(self, path: Path) -> list[Episode]:
        return read_episodes(path)

    def save(self, data: Iterable[Episode]) -> None:
        with self._written() as path:
            write_episodes(path, data)


class JsonLinesDataset(_FileDataset[Iterable[dict[str, Any]], list[dict[str, Any]]]):
    """Records, one per line (rollouts, samples); gzip where the name ends in .gz."""

    def _read(self, path: Path) -> list[dict[str, Any]]:
        try:
            return [self._record(line, raw) for line, raw in read_lines(path)]
        except Truncated as damage:
            raise DatasetError(
                f"{self._filepath}:{damage.line}: the gzip data is damaged or cut off ({damage})."
            ) from damage

    def save(self, data: Iterable[dict[str, Any]]) -> None:
        with self._written() as path:
            write_lines(path, data)

    def _record(self, line: int, raw: bytes) -> dict[str, Any]:
        try:
            record = json.loads(raw)
        except ValueError as error:
            raise DatasetError(f"{self._filepath}:{line}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise DatasetError(f"{self._filepath}:{line}: expected an object, found {type(record).__name__}.")
        return record


class StreamSetsDataset(_FileDataset[Mapping[str, Iterable[Episode]], dict[str, list[Episode]]]):
    """Sets of streams by name, a stream per line; gzip where the name ends in .gz. A set without streams is lost."""

    def _read(self, path: Path) -> dict[str, list[Episode]]:
        found: dict[str, list[Episode]] = {}
        for record in JsonLinesDataset(filepath=str(path)).load():
            found.setdefault(record["set"], []).append(undump(record["stream"]))
        return found

    def save(self, data: Mapping[str, Iterable[Episode]]) -> None:
        rows = ({"set": name, "stream": dump(stream)} for name, streams in data.items() for stream in streams)
        with self._written() as path:
            write_lines(path, rows)


class JsonDataset(_FileDataset[Any, Any]):
    """One JSON value, indented."""

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise DatasetError(f"{self._filepath}: not JSON: {error}") from error

    def save(self, data: Any) -> None:
        with self._written() as path, beside(path) as part:
            part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
