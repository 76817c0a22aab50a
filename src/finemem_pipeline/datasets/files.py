"""One file each: streams, records as JSON lines, one JSON value, one text."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from copy import copy
from pathlib import Path
from typing import Any, Generic, TypeVar

from kedro.io.core import AbstractDataset, DatasetError

from finemem_pipeline.benchmarks.files import Truncated, read_lines, write_lines
from finemem_pipeline.benchmarks.realbench import dump, read_episodes, undump, write_episodes
from finemem_pipeline.beside import beside
from finemem_pipeline.episodes import Episode

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class _FileDataset(AbstractDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """A dataset that is one local file. Where there is none, `absent` is loaded, if one is given."""

    def __init__(self, *, filepath: str, absent: Any = None, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self._absent = absent
        self.metadata = metadata  # for Kedro plugins; not used here

    def load(self) -> Loaded:
        if self._absent is not None and not self._exists():
            absent: Loaded = copy(self._absent)
            return absent
        return self._read(self._found())

    @abstractmethod
    def _read(self, path: Path) -> Loaded:
        """What the file holds."""

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}

    def _found(self) -> Path:
        if not self._path.is_file():
            raise DatasetError(f"{self._path} is not there; run the pipeline that writes it first.")
        return self._path


class EpisodesDataset(_FileDataset[Iterable[Episode], list[Episode]]):
    """Streams in the realbench schema, one per line; gzip where the name ends in .gz."""

    def _read(self, path: Path) -> list[Episode]:
        return read_episodes(path)

    def save(self, data: Iterable[Episode]) -> None:
        write_episodes(self._path, data)


class JsonLinesDataset(_FileDataset[Iterable[dict[str, Any]], list[dict[str, Any]]]):
    """Records, one per line (rollouts, samples); gzip where the name ends in .gz."""

    def _read(self, path: Path) -> list[dict[str, Any]]:
        try:
            return [self._record(line, raw) for line, raw in read_lines(path)]
        except Truncated as damage:
            raise DatasetError(
                f"{self._path}:{damage.line}: the gzip data is damaged or cut off ({damage})."
            ) from damage

    def save(self, data: Iterable[dict[str, Any]]) -> None:
        write_lines(self._path, data)

    def _record(self, line: int, raw: bytes) -> dict[str, Any]:
        try:
            record = json.loads(raw)
        except ValueError as error:
            raise DatasetError(f"{self._path}:{line}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise DatasetError(f"{self._path}:{line}: expected an object, found {type(record).__name__}.")
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
        write_lines(self._path, rows)


class JsonDataset(_FileDataset[Any, Any]):
    """One JSON value, indented."""

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise DatasetError(f"{self._path}: not JSON: {error}") from error

    def save(self, data: Any) -> None:
        with beside(self._path) as part:
            part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
