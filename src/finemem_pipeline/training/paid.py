"""Which answers were paid for in updates that no checkpoint holds yet.

A run that is killed plays such an update again, and finds its answers in the cache. Counted as hits, they would be
missing from the metrics for ever: the lost try is forgotten, and the second is free. So they count as calls of the
update that asks them again, and the metrics are those of a run that was never killed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finemem_pipeline import store
from finemem_pipeline.reasoning import Asked, Reasoner, Reply
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.reader import Reader

PAID = "paid.jsonl"
"""In the folder of a run. Every process has its own, numbered from the second on."""
ANSWERS = "answers.sqlite"
"""In a checkpoint."""


class Paid:
    """Keys of the answers by the update that paid for them, in a file of one JSON row per purchase."""

    def __init__(self, path: Path, step: int) -> None:
        """Takes up the file of a run that goes on after `step` updates."""
        self.path = path
        self.update = step + 1
        """The update that pays now."""
        self.settle(step)
        self.owed = {bytes.fromhex(key) for row in self._rows() for key in row["keys"]}
        """Answers that a lost update has paid for, and that no update has asked for again yet."""

    def write(self, keys: Sequence[bytes]) -> None:
        """Before the answers go to the cache: a kill in between leaves a key without an answer, which harms nobody."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"update": self.update, "keys": [key.hex() for key in keys]}) + "\n")
        self.owed.difference_update(keys)

    def settle(self, step: int) -> None:
        """Drops what updates up to `step` have paid for: they will not be played again."""
        rows = [row for row in self._rows() if row["update"] > step]
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(part, self.path)

    def around(self, reader: Reader) -> Reader:
        """A reader that answers as this one does, and counts by this file."""
        if reader.cache is None or reader.cache.path is None:
            return reader  # what it has answered dies with the process
        return reader.but(reasoner=_Reasoner(reader.reasoner, reader.cache, self), cache=_Cache(reader.cache, self))

    def _rows(self) -> list[dict[str, Any]]:
        """What was written, up to a row that a kill cut off."""
        rows: list[dict[str, Any]] = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    break
        return rows


class Answers:
    """What a run has paid for so far, packed into its checkpoints where data is kept elsewhere: there the run may go on
    on a machine that has no answers. Where data is kept here, the cache outlives the run by itself.

    The first process does it for all that train together: it sees their files, and they share the cache.
    """

    def __init__(self, cache: AnswerCache | None, run: Path) -> None:
        self._cache = cache if cache is not None and cache.path is not None else None
        self._run = run

    def pack(self, checkpoint: Path) -> None:
        """Puts them into a checkpoint that is being written."""
        if self._cache is not None and store.elsewhere():
            self._cache.copy(checkpoint / ANSWERS)
            for paid in self._run.glob(f"*{PAID}"):
                shutil.copyfile(paid, checkpoint / paid.name)

    def unpack(self, checkpoint: Path) -> None:
        """Takes them from a checkpoint, unless the run was here all the time."""
        if self._cache is not None and (checkpoint / ANSWERS).is_file() and not (self._run / PAID).exists():
            self._cache.take_in(checkpoint / ANSWERS)
            for paid in checkpoint.glob(f"*{PAID}"):
                shutil.copyfile(paid, self._run / paid.name)


class _Cache(AnswerCache):
    """Does not know the answers that are owed."""

    def __init__(self, cache: AnswerCache, paid: Paid) -> None:
        super().__init__(cache.path)
        self._cache = cache
        self._paid = paid

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        return self._cache.get([key for key in keys if key not in self._paid.owed])

    def put(self, replies: Mapping[bytes, Reply]) -> None:
        self._paid.write(list(replies))
        self._cache.put(replies)


class _Reasoner:
    """Gives out the answers that are owed from the cache, and asks for the others."""

    def __init__(self, reasoner: Reasoner, cache: AnswerCache, paid: Paid) -> None:
        self._reasoner = reasoner
        self._cache = cache
        self._paid = paid

    @property
    def identity(self) -> str:
        return self._reasoner.identity

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        keys = [AnswerCache.key(self.identity, one) for one in asked]
        known = self._cache.get([key for key in keys if key in self._paid.owed])
        missing = [one for one, key in zip(asked, keys, strict=True) if key not in known]
        fresh = iter(self._reasoner.answer(missing) if missing else ())
        return [known[key] if key in known else next(fresh) for key in keys]
