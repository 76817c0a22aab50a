"""Rows of a study on disk, one line each, so that a study that was stopped goes on where it stopped."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

log = logging.getLogger(__name__)


class Ledger:
    """A file of finished cells. A cell is written at once when it is finished, and is never played again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cells = {json.dumps(cell["cell"]): cell["rows"] for cell in self._read()}

    def get(self, cell: Mapping[str, Any]) -> Sequence[Row] | None:
        """The rows of a finished cell."""
        return self._cells.get(json.dumps(dict(cell)))

    def put(self, cell: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Adds a finished cell."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cell": dict(cell), "rows": list(rows)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._cells[json.dumps(dict(cell))] = list(rows)

    def _read(self) -> Iterator[Row]:
        """The whole lines; what a kill cut off at the end is cut off here too, so that the next line begins afresh.

        A line that is whole and cannot be read is left where it stands: its cell is played again.
        """
        if not self.path.is_file():
            return
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                try:
                    found = json.loads(line)
                    found["cell"], found["rows"]
                except (ValueError, TypeError, KeyError):
                    log.warning("%s: line %d cannot be read; what it held is done again", self.path, number)
                    continue
                yield found
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)
