"""BM25 over memory banks that change a little at every step.

score(q, m) = Σ_w idf(w) · tf·(k1 + 1) / (tf + k1·(1 − b + b·|m|/mean length)), over the words of q as often as they
stand there, idf(w) = ln(1 + (n − df + ½)/(df + ½)), words `\\w+` lower-cased, n items of the bank. Departures from the
textbook: an item that shares no word with the query is not retrieved, and equal scores go to the newest item.

Banks of siblings and of several streams are asked in turn, and each has most of its texts in common with one asked
before. So a text is split into words once, into a collection that such banks share; a bank is how often it holds each
text of its collection, and n, df and mean length follow from that. Banks of one collection that are asked the same are
scored together, and what a word adds to a score is computed once for all queries. A score is made of integers of the
bank and of float operations in the order of the query, so it has the same bits whatever else is scored beside it.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, repeat
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.memory import MemoryItem

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[0-9]+$")
_ID = attrgetter("id")

_LOOKED_AT = 16  # about as many texts of a bank tell which collection it belongs to
_SPARE = 4  # a collection holds at most as many times the texts of the bank it serves, and a few
_AT_ONCE = 1 << 16  # scores computed together, half a megabyte

Found = list[tuple[MemoryItem, float]]
_Numbers = NDArray[np.intp]
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
        return self.search_each([(queries, items)], k)[0]

    def search_each(self, asked: Sequence[tuple[Sequence[str], Sequence[MemoryItem]]], k: int) -> list[list[Found]]:
        """What `search` finds for each (queries, items), in order. Banks with many texts in common share the work."""
        found: list[list[Found]] = [[[] for _ in queries] for queries, _ in asked]
        alike: dict[tuple[_Collection, tuple[str, ...]], list[tuple[int, _Numbers]]] = {}  # by collection and queries
        for place, (queries, items) in enumerate(asked):
            if queries and items and k >= 1:
                if len(set(map(_ID, items))) < len(items):
                    raise ValueError("items of one bank must have different ids")
                collection, numbers = self._numbered([item.text for item in items])
                alike.setdefault((collection, tuple(queries)), []).append((place, numbers))
        for (collection, texts), places in alike.items():
            rows = max(1, _AT_ONCE // len(collection.numbers))
            together = max(1, rows // len(texts))
            for begin in range(0, len(places), together):
                some = places[begin : begin + together]
                banks = _Banks(collection, [(asked[place][1], numbers) for place, numbers in some], self.k1, self.b)
                for first in range(0, len(texts), rows):
                    best = banks.best([_query(text) for text in texts[first : first + rows]], k)
                    for (place, _), its in zip(some, best, strict=True):
                        found[place][first : first + rows] = its
        return found

    def _numbered(self, texts: list[str]) -> tuple[_Collection, _Numbers]:
        """A collection with these texts, and their numbers: the one that knew most, or a new one if none knew half."""
        some = texts[:: max(1, len(texts) // _LOOKED_AT)]
        known, place = max(
            ((sum(map(each.numbers.__contains__, some)), place) for place, each in enumerate(self._pool)),
            default=(0, -1),
        )
        collection = self._pool.pop(place) if 2 * known >= len(some) else _Collection()
        numbers = np.fromiter(map(collection.numbers.get, texts, repeat(-1)), dtype=np.intp, count=len(texts))
        new: Sequence[int] = np.flatnonzero(numbers < 0).tolist()
        if len(collection.numbers) + len(new) > _SPARE * (len(texts) + _LOOKED_AT):
            collection, new = _Collection(), range(len(texts))  # too much in it that no bank holds any more
        before = len(collection.numbers)
        for place in new:
            numbers[place] = collection.number(texts[place])
        self.tokenised += len(collection.numbers) - before
        self._pool.append(collection)
        del self._pool[: -self.indexes]
        return collection, numbers


class _Collection:
    """An inverted index of different texts, numbered as they came. None is ever taken out."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.lengths = array("q")  # by number, words
        self.postings: defaultdict[str, _Posting] = defaultdict(lambda: (array("q"), array("d")))

    def number(self, text: str) -> int:
        """Of a text, which is added if it is new."""
        if text in self.numbers:
            return self.numbers[text]
        words = _words(text)
        number = self.numbers[text] = len(self.numbers)
        self.lengths.append(len(words))
        for word in words:
            numbers, times = self.postings[word]
            if numbers and numbers[-1] == number:
                times[-1] += 1
            else:
                numbers.append(number)
                times.append(1)
        return number


class _Banks:
    """Some banks, each as its items and the numbers of their texts in a collection.

    A cell is a text in a bank: place of the bank · size of the collection + number of the text.
    """

    def __init__(
        self, collection: _Collection, banks: Sequence[tuple[Sequence[MemoryItem], _Numbers]], k1: float, b: float
    ) -> None:
        self.postings = collection.postings
        self.k1 = k1
        self.items = [item for items, _ in banks for item in items]
        self.sizes = np.array([[len(items)] for items, _ in banks])
        self.width = len(collection.numbers)
        self.cells = np.concatenate([i * self.width + numbers for i, (_, numbers) in enumerate(banks)])  # by item
        held = np.bincount(self.cells, minlength=len(banks) * self.width)  # by cell: items with that text
        self.last = np.zeros(len(held), dtype=np.intp)  # by cell: the last of them
        self.last[self.cells] = np.arange(len(self.items))
        self.held = held.reshape(len(banks), self.width)
        lengths = np.frombuffer(collection.lengths, dtype=np.int64)
        words = (self.held @ lengths)[:, np.newaxis]
        mean_length = np.where(words, words / self.sizes, 1.0)  # without any words nothing is ever found
        self.damping = k1 * (1 - b + b * lengths / mean_length)
        self.damping[self.held == 0] = np.inf  # what a bank does not hold scores 0 in it

    def best(self, queries: Sequence[Sequence[str]], k: int) -> list[list[Found]]:
        """For each bank, for each query, given as its words, the k best items."""
        asked = [(row, word) for row, query in enumerate(queries) for word in query if word in self.postings]
        if not asked:
            return [[[] for _ in queries] for _ in self.sizes]
        different = {word: self.postings[word] for _, word in asked}
        numbers = np.frombuffer(b"".join([numbers for numbers, _ in different.values()]), dtype=np.int64)
        times = np.frombuffer(b"".join([times for _, times in different.values()]))
        lengths = [len(numbers) for numbers, _ in different.values()]
        starts = list(accumulate(lengths, initial=0))[:-1]
        impacts = self._impacts(numbers, times, lengths, starts)
        place = dict(zip(different, zip(starts, lengths, strict=True), strict=True))  # of each word's postings
        places = np.arange(len(numbers))
        order = np.concatenate([places[start : start + length] for start, length in (place[word] for _, word in asked)])
        cells = np.repeat([row * self.width for row, _ in asked], [place[word][1] for _, word in asked])
        cells += numbers[order]
        # bincount adds in the order of its input: that of the words of each query.
        scores: NDArray[np.float64] = np.array(
            [np.bincount(cells, its.take(order), minlength=len(queries) * self.width) for its in impacts]
        )
        found = self._items(scores.reshape(-1, self.width), k)
        return [found[begin : begin + len(queries)] for begin in range(0, len(found), len(queries))]

    def _impacts(
        self, numbers: NDArray[np.int64], times: NDArray[np.float64], lengths: Sequence[int], starts: Sequence[int]
    ) -> NDArray[np.float64]:
        """What each posting adds to a score, (banks, postings), for the postings of some words one after another."""
        df = np.add.reduceat(self.held.take(numbers, axis=1), starts, axis=1)
        odds = 1 + (self.sizes - df + 0.5) / (df + 0.5)
        # math.log, as numpy's may differ from it in the last bit.
        idf = np.array(list(map(math.log, odds.ravel().tolist()))).reshape(odds.shape)
        impacts: NDArray[np.float64] = np.repeat(idf, lengths, axis=1)
        impacts *= times
        impacts *= self.k1 + 1
        impacts /= times + self.damping.take(numbers, axis=1)
        return impacts

    def _items(self, scores: NDArray[np.float64], k: int) -> list[Found]:
        """The k best items for each row of scores (banks · queries, texts)."""
        least = scores.max(axis=1, keepdims=True)
        for _ in range(k - 1):
            least = np.where(scores < least, scores, 0.0).max(axis=1, keepdims=True)
        hits = np.flatnonzero(scores >= np.maximum(least, sys.float_info.min))
        rows, numbers = np.divmod(hits, self.width)
        cells = rows // (len(scores) // len(self.sizes)) * self.width + numbers
        columns = (rows, scores.ravel()[hits], cells, self.held.ravel()[cells], self.last[cells])
        found: list[Found] = [[] for _ in scores]
        for row, score, cell, held, last in zip(*(column.tolist() for column in columns), strict=True):
            if held == 1:
                found[row].append((self.items[last], score))
            else:
                found[row] += [(self.items[place], score) for place in np.flatnonzero(self.cells == cell)]
        for best in found:
            if len(best) > 1:
                best.sort(key=rank, reverse=True)
                del best[k:]
        return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@lru_cache(maxsize=8192)
def _query(text: str) -> tuple[str, ...]:
    """Cached: siblings are asked the same questions."""
    return tuple(_words(text))


def rank(found: tuple[MemoryItem, float]) -> tuple[float, int, int, str]:
    """The higher score; of equals the latest last write, then the higher number in the id."""
    item, score = found
    return score, item.writes[-1] if item.writes else -1, _number(item.id), item.id


@lru_cache(maxsize=65536)
def _number(item_id: str) -> int:
    number = _NUMBER.search(item_id)
    return int(number[0]) if number else -1
