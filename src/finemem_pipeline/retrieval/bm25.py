"""BM25 over memory banks that change a little at every step.

score(q, m) = Σ_w idf(w) · tf·(k1 + 1) / (tf + k1·(1 − b + b·|m|/mean length)), over the words of q as often as they
stand there, idf(w) = ln(1 + (n − df + ½)/(df + ½)), words `\\w+` lower-cased, n items of the bank. Departures from the
textbook: an item that shares no word with the query is not retrieved, and equal scores go to the newest item.

Banks of siblings and of several streams are asked in turn, and each differs from one asked before by an operation or
two. So a few inverted indexes are kept: the one nearest to the asked bank is forked and brought up to date item by
item. A score is made of integers of the bank and of float operations in the order of the query, so it has the same
bits however the index came to be.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.memory import MemoryItem

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[0-9]+$")

_Key = tuple[str, str]  # id and text: what an indexed item is known by


class BM25:
    """A Retriever. Keeps the indexes of the `indexes` banks asked last; not for use by several threads at once."""

    def __init__(self, k1: float = 1.5, b: float = 0.75, indexes: int = 64) -> None:
        if k1 < 0 or not 0 <= b <= 1 or indexes < 1:
            raise ValueError(f"BM25 needs k1 >= 0, 0 <= b <= 1 and room for an index, found {k1=}, {b=}, {indexes=}")
        self.k1 = k1
        self.b = b
        self.indexes = indexes
        self.tokenised = 0  # items split into words so far
        self._pool: list[_Index] = []  # the bank asked last stands last

    def search(
        self, queries: Sequence[str], items: Sequence[MemoryItem], k: int
    ) -> list[list[tuple[MemoryItem, float]]]:
        """For each query at most k (item, score) pairs, best first. Raises ValueError if two items share an id."""
        if not items or k < 1:
            return [[] for _ in queries]
        index = self._index(items)
        return [index.best(_words(query), k, self.k1, self.b) for query in queries]

    def _index(self, items: Sequence[MemoryItem]) -> _Index:
        """An index of exactly these items: the nearest one in the pool, or a copy of it, brought up to date."""
        wanted = {(item.id, item.text): item for item in items}
        if len({item.id for item in items}) < len(items):
            raise ValueError("items of one bank must have different ids")
        marks = set(map(hash, wanted))
        nearest, changes = None, len(wanted)  # an index that takes more changes than an empty one is no help
        for place, index in enumerate(self._pool):
            differing = len(wanted) + len(index.slots) - 2 * len(marks & index.marks)
            if differing < changes:
                nearest, changes = place, differing
        full = len(self._pool) == self.indexes
        if nearest is None:
            index = _Index()
        elif changes == 0 or (full and nearest == 0):  # nothing to change, or the next to be dropped
            index = self._pool.pop(nearest)
        else:
            index = self._pool[nearest].fork()
        del self._pool[: max(0, len(self._pool) + 1 - self.indexes)]
        self._pool.append(index)
        self.tokenised += index.sync(wanted)
        return index


class _Index:
    """An inverted index of one bank. Every item lies in a slot; slots of removed items are given out again."""

    def __init__(self) -> None:
        self.slots: dict[_Key, int] = {}
        self.marks: set[int] = set()  # hashes of the keys: comparing two banks costs little
        self.items: list[MemoryItem | None] = []  # by slot
        self.counts: list[Counter[str]] = []  # by slot: how often a word stands in the item
        self.lengths: list[int] = []  # by slot, words
        self.words = 0  # in all items
        self.free: list[int] = []
        self.postings: dict[str, dict[int, int]] = {}  # word -> slot -> how often
        self.own: set[str] = set()  # words whose postings no other index uses
        self.impacts: dict[str, tuple[NDArray[np.intp], NDArray[np.float64]]] = {}  # made when first asked for

    def fork(self) -> _Index:
        """A copy. Postings are shared until one of the two changes them."""
        other = _Index()
        other.slots = dict(self.slots)
        other.marks = set(self.marks)
        other.items = list(self.items)
        other.counts = list(self.counts)
        other.lengths = list(self.lengths)
        other.words = self.words
        other.free = list(self.free)
        other.postings = dict(self.postings)
        self.own = set()
        return other

    def sync(self, wanted: dict[_Key, MemoryItem]) -> int:
        """Makes this the index of the wanted items; returns how many had to be split into words."""
        gone = [key for key in self.slots if key not in wanted]
        new = [key for key in wanted if key not in self.slots]
        for key in gone:
            self._remove(key)
        for key in new:
            self._add(key)
        for key, item in wanted.items():
            self.items[self.slots[key]] = item  # its writes may have changed
        if gone or new:
            self.impacts = {}
        return len(new)

    def best(self, query: list[str], k: int, k1: float, b: float) -> list[tuple[MemoryItem, float]]:
        """The k best items for the words of a query."""
        scores = np.zeros(len(self.items))
        for word in query:
            if word in self.postings:
                slots, impacts = self._impacts(word, k1, b)
                scores[slots] += impacts
        hits = np.flatnonzero(scores)
        if len(hits) > k:
            kth = np.partition(scores[hits], -k)[-k]
            hits = hits[scores[hits] >= kth]
        found = [(item, float(scores[slot])) for slot in hits if (item := self.items[slot]) is not None]
        found.sort(key=lambda pair: (pair[1], *_newness(pair[0])), reverse=True)
        return found[:k]

    def _impacts(self, word: str, k1: float, b: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The slots of the items that hold a word, and what it adds to the score of each."""
        if word not in self.impacts:
            posting = self.postings[word]
            slots = np.fromiter(posting, dtype=np.intp, count=len(posting))
            times = np.fromiter(posting.values(), dtype=np.float64, count=len(posting))
            lengths = np.array([self.lengths[slot] for slot in posting], dtype=np.float64)
            mean_length = self.words / len(self.slots)
            idf = math.log(1 + (len(self.slots) - len(posting) + 0.5) / (len(posting) + 0.5))
            self.impacts[word] = (
                slots,
                idf * times * (k1 + 1) / (times + k1 * (1 - b + b * lengths / mean_length)),
            )
        return self.impacts[word]

    def _add(self, key: _Key) -> None:
        counts = Counter(_words(key[1]))
        if self.free:
            slot = self.free.pop()
        else:
            slot = len(self.items)
            self.items.append(None)
            self.counts.append(counts)
            self.lengths.append(0)
        self.slots[key] = slot
        self.marks.add(hash(key))
        self.counts[slot] = counts
        self.lengths[slot] = counts.total()
        self.words += self.lengths[slot]
        for word, times in counts.items():
            self._owned(word)[slot] = times

    def _remove(self, key: _Key) -> None:
        slot = self.slots.pop(key)
        self.marks.discard(hash(key))
        for word in self.counts[slot]:
            posting = self._owned(word)
            del posting[slot]
            if not posting:
                del self.postings[word]
                self.own.discard(word)
        self.items[slot] = None
        self.words -= self.lengths[slot]
        self.free.append(slot)

    def _owned(self, word: str) -> dict[int, int]:
        """The postings of a word, safe to change."""
        if word not in self.own:
            self.own.add(word)
            self.postings[word] = dict(self.postings.get(word, ()))
        return self.postings[word]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _newness(item: MemoryItem) -> tuple[int, int, str]:
    """The latest last write, then the higher number in the id."""
    number = _NUMBER.search(item.id)
    return item.writes[-1] if item.writes else -1, int(number[0]) if number else -1, item.id
