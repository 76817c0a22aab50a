"""Verified questions by chunk text, on disk, so that no chunk is paid for twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finemem_pipeline.errors import DataError


class QuestionCache:
    """A table of JSON values in a sqlite file, or in memory without one. Every `put` is committed before it returns."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._table = sqlite3.connect(path or ":memory:", timeout=60)
            self._table.execute("CREATE TABLE IF NOT EXISTS questions (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{path}: not a question cache that can be used ({error}); remove it to start anew."
            ) from error

    def get(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those keys that are there."""
        found: dict[str, Any] = {}
        for key in keys:
            row = self._table.execute("SELECT value FROM questions WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = json.loads(row[0])
        return found

    def put(self, values: Mapping[str, Any]) -> None:
        with self._table:
            self._table.executemany(
                "INSERT OR REPLACE INTO questions VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in values.items()],
            )

    def close(self) -> None:
        self._table.close()
