"""BM25 over memory banks that change a little at every step.

score(q, m) = Σ_w idf(w) · tf·(k1 + 1) / (tf + k1·(1 − b + b·|m|/mean length)), over the words of q as often as they
stand there, idf(w) = ln(1 + (n − df + ½)/(df + ½)), words `\\w+` lower-cased, n items of the bank. Departures from the
textbook: an item that shares no word with the query is not retrieved, and equal scores go to the newest item.

Banks of siblings and of several streams are asked in turn, and each has most of its texts in common with one asked
before. So a text is split into words once, into a collection that such banks share; a bank is how often it holds each
text of its collection, and n, df and mean length follow from that. All queries to a bank are scored together. A score
is made of integers of the bank and of float operations in the order of the query, so it has the same bits whatever
else the collection holds.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.memory import MemoryItem

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[0-9]+$")

_LOOKED_AT = 16  # about as many texts of a bank tell which collection it belongs to
_SPARE = 4  # a collection holds at most as many times the texts of the bank it serves, and a few
_AT_ONCE = 1 << 13  # scores computed together: larger arrays would be faulted in anew at every search

Found = list[tuple[MemoryItem, float]]
_Posting = tuple["array[int]", "array[float]"]  # numbers of the texts with a word, and how often it stands in each


class BM25:
    """A Retriever. Keeps the `indexes` collections of texts asked last; not for use by several threads at once."""

    def __init__(self, k1: float = 1.5, b: float = 0.75, indexes: int = 64) -> None:
        if k1 < 0 or not 0 <= b <= 1 or indexes < 1:
            raise ValueError(f"BM25 needs k1 >= 0, 0 <= b <= 1 and room for an index, found {k1=}, {b=}, {indexes=}")
        self.k1 = k1
        self.b = b
        self.indexes = indexes
        self.tokenised = 0  # texts split into words so far
        self._pool: list[_Collection] = []  # the one asked last stands last

    def search(self, queries: Sequence[str], items: Sequence[MemoryItem], k: int) -> list[Found]:
        """For each query at most k (item, score) pairs, best first. Raises ValueError if two items share an id."""
        if not items or k < 1:
            return [[] for _ in queries]
        if len({item.id for item in items}) < len(items):
            raise ValueError("items of one bank must have different ids")
        texts = [item.text for item in items]
        bank = _Bank(self._collection(texts), items, texts, self.k1, self.b)
        found: list[Found] = []
        together = max(1, _AT_ONCE // len(bank.held))
        for begin in range(0, len(queries), together):
            found += bank.best([_query(query) for query in queries[begin : begin + together]], k)
        return found

    def _collection(self, texts: list[str]) -> _Collection:
        """A collection with these texts: the one that knew most of them, or a new one if none knew half."""
        some = texts[:: max(1, len(texts) // _LOOKED_AT)]
        known, place = max(
            ((sum(map(each.numbers.__contains__, some)), place) for place, each in enumerate(self._pool)),
            default=(0, -1),
        )
        collection = self._pool.pop(place) if 2 * known >= len(some) else _Collection()
        new = dict.fromkeys(text for text in texts if text not in collection.numbers)
        if len(collection.numbers) + len(new) > _SPARE * (len(texts) + _LOOKED_AT):
            collection, new = _Collection(), dict.fromkeys(texts)  # too much in it that no bank holds any more
        for text in new:
            collection.add(text)
        self.tokenised += len(new)
        self._pool.append(collection)
        del self._pool[: -self.indexes]
        return collection


class _Collection:
    """An inverted index of different texts, numbered as they came. None is ever taken out."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.lengths = array("q")  # by number, words
        self.postings: dict[str, _Posting] = {}

    def add(self, text: str) -> None:
        words = _words(text)
        number = self.numbers[text] = len(self.numbers)
        self.lengths.append(len(words))
        for word, often in Counter(words).items():
            if word not in self.postings:
                self.postings[word] = array("q"), array("d")
            numbers, times = self.postings[word]
            numbers.append(number)
            times.append(often)


class _Bank:
    """The items of one bank, as numbers of a collection that has all of their texts."""

    def __init__(
        self, collection: _Collection, items: Sequence[MemoryItem], texts: list[str], k1: float, b: float
    ) -> None:
        self.items = items
        self.postings = collection.postings
        self.k1 = k1
        self.numbers = np.fromiter(map(collection.numbers.__getitem__, texts), dtype=np.intp, count=len(texts))
        self.held = np.bincount(self.numbers, minlength=len(collection.numbers))  # by number: items with that text
        lengths = np.frombuffer(collection.lengths, dtype=np.int64)
        mean_length = int(self.held @ lengths) / len(items) or 1.0  # without any words nothing is ever found
        self.damping = k1 * (1 - b + b * lengths / mean_length)

    def best(self, queries: Sequence[Sequence[str]], k: int) -> list[Found]:
        """For each query, given as its words, the k best items."""
        asked = [
            (row, self.postings[word]) for row, query in enumerate(queries) for word in query if word in self.postings
        ]
        if not asked:
            return [[] for _ in queries]
        sizes = [len(numbers) for _, (numbers, _) in asked]
        numbers = np.frombuffer(b"".join([numbers for _, (numbers, _) in asked]), dtype=np.int64)
        times = np.frombuffer(b"".join([times for _, (_, times) in asked]))
        starts = list(accumulate(sizes, initial=0))[:-1]
        n = len(self.items)
        holding = np.add.reduceat(self.held[numbers], starts).tolist()
        idf = np.array([math.log(1 + (n - df + 0.5) / (df + 0.5)) for df in holding])
        impacts = np.repeat(idf, sizes)
        impacts *= times
        impacts *= self.k1 + 1
        impacts /= times + self.damping[numbers]
        width = len(self.held)
        cells = np.repeat([row * width for row, _ in asked], sizes) + numbers
        # bincount adds in the order of its input: that of the words of each query.
        scores: NDArray[np.float64] = np.bincount(cells, weights=impacts, minlength=len(queries) * width)  # type: ignore[assignment]
        return self._items(scores.reshape(-1, width).take(self.numbers, axis=1), k)

    def _items(self, scores: NDArray[np.float64], k: int) -> list[Found]:
        """For each row of scores, by place in the bank, the k best items."""
        least = scores.max(axis=1, keepdims=True)
        for _ in range(k - 1):
            least = np.where(scores < least, scores, 0.0).max(axis=1, keepdims=True)
        hits = np.flatnonzero(scores >= np.maximum(least, sys.float_info.min))
        found: list[Found] = [[] for _ in scores]
        for cell, score in zip(hits.tolist(), scores.ravel()[hits].tolist(), strict=True):
            row, place = divmod(cell, len(self.items))
            found[row].append((self.items[place], score))
        for best in found:
            best.sort(key=_rank, reverse=True)
        return [best[:k] for best in found]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@lru_cache(maxsize=8192)
def _query(text: str) -> tuple[str, ...]:
    """Cached: siblings are asked the same questions."""
    return tuple(_words(text))


def _rank(found: tuple[MemoryItem, float]) -> tuple[float, int, int, str]:
    """The higher score; of equals the latest last write, then the higher number in the id."""
    item, score = found
    return score, item.writes[-1] if item.writes else -1, _number(item.id), item.id


@lru_cache(maxsize=65536)
def _number(item_id: str) -> int:
    number = _NUMBER.search(item_id)
    return int(number[0]) if number else -1
