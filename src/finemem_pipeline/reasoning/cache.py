"""Replies that were already paid for.

A reply depends on the reasoner's identity, the question and the retrieved texts in order, and on nothing else. Siblings
of one stream share most of their questions and texts early on, and a rerun shares all of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from finemem_pipeline.reasoning import Asked, ReasonerError, Reply

_TABLE = """CREATE TABLE IF NOT EXISTS replies
            (key BLOB PRIMARY KEY, reply TEXT NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID"""
_AT_ONCE = 500  # keys in one query
_PATIENCE = 60.0  # seconds to wait for another process that is writing

T = TypeVar("T")


class AnswerCache:
    """Replies by key, in memory and, given a path, in a sqlite file that outlives the process.

    Several processes may share the file: every write is one transaction, so a killed process leaves it whole. A file
    that turns out to be damaged is set aside with a warning and a new one begun; every reply carries a checksum, so
    a damaged one is never given out. Failed replies are not kept.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.hits = 0  # keys looked up and found
        self.misses = 0  # keys looked up and not found
        self._replies: dict[bytes, Reply] = {}

    @staticmethod
    def key(identity: str, asked: Asked) -> bytes:
        """Digest of everything that a reply depends on."""
        whole = json.dumps([identity, asked.question, asked.texts])
        return hashlib.blake2b(whole.encode(), digest_size=20).digest()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """The replies that are there. Raises ReasonerError if the file cannot be used."""
        wanted = dict.fromkeys(keys)
        unread = [key for key in wanted if key not in self._replies]
        if unread and self.path is not None and self.path.exists():
            self._replies.update(self._use(lambda connection: _select(connection, unread)) or {})
        found = {key: self._replies[key] for key in wanted if key in self._replies}
        self.hits += len(found)
        self.misses += len(wanted) - len(found)
        return found

    def put(self, replies: Mapping[bytes, Reply]) -> None:
        """Keep the replies that are no failures. Raises ReasonerError if the file cannot be written."""
        good = {key: reply for key, reply in replies.items() if reply.failure is None}
        self._replies.update(good)
        if good and self.path is not None:
            rows = [_row(key, reply) for key, reply in good.items()]
            # Once more, into the fresh file, where the first try met a damaged one.
            _ = self._use(lambda connection: _insert(connection, rows)) or self._use(lambda c: _insert(c, rows))

    def copy(self, path: Path) -> None:
        """Writes all replies of the file to another one."""

        def back_up(connection: sqlite3.Connection) -> None:
            with closing(sqlite3.connect(path)) as other:
                connection.backup(other)

        self._use(back_up)

    def take_in(self, path: Path) -> None:
        """Adds the replies of another file."""
        with closing(sqlite3.connect(path)) as other:
            self._use(lambda connection: _insert(connection, other.execute("SELECT * FROM replies")))

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `work` returns, or None if the file was damaged and is now set aside.

        A connection is opened for each use: cheap beside what it saves, and safe in forked processes.
        """
        assert self.path is not None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as connection, connection:
                connection.execute(_TABLE)
                return work(connection)
        except (_Damaged, sqlite3.DatabaseError, OSError) as error:
            if not _is_damage(error):
                raise ReasonerError(
                    f"answer cache {self.path}: {error}. Give it a place that can be written, or switch it off."
                ) from error
            self._set_aside(self.path, error)
            return None

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f"{path.name}.damaged-{os.getpid()}")
        # A journal left beside the damaged file would be played back into the new one.
        for ending in ("", "-journal", "-wal", "-shm"):
            if path.with_name(path.name + ending).exists():
                os.replace(path.with_name(path.name + ending), aside.with_name(aside.name + ending))
        warnings.warn(f"answer cache {path} is damaged ({error}); set aside as {aside.name}, begun anew", stacklevel=4)


class _Damaged(Exception):
    """A row is not what was written."""


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, _Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _select(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Reply]:
    found = {}
    for begin in range(0, len(keys), _AT_ONCE):
        some = keys[begin : begin + _AT_ONCE]
        marks = ",".join("?" * len(some))
        for key, reply, checksum in connection.execute(f"SELECT * FROM replies WHERE key IN ({marks})", some):
            if checksum != _checksum(key, reply):
                raise _Damaged(f"reply {key.hex()} does not match its checksum")
            text, cited = json.loads(reply)
            found[key] = Reply(text, tuple(cited))
    return found


def _insert(connection: sqlite3.Connection, rows: Iterable[tuple[bytes, str, bytes]]) -> bool:
    connection.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", rows)
    return True


def _row(key: bytes, reply: Reply) -> tuple[bytes, str, bytes]:
    written = json.dumps([reply.text, reply.cited])
    return key, written, _checksum(key, written)


def _checksum(key: bytes, reply: str) -> bytes:
    return hashlib.blake2b(key + reply.encode(), digest_size=8).digest()
