"""A policy small enough to learn in seconds: which sentences of a chunk to keep, and which items to overwrite.

Two logistics. The first decides for every sentence, by what kinds of words it has, whether to keep it. The second
decides for every kept sentence that resembles an item whether to overwrite that item (UPDATE) or to stand beside it
(INSERT). The reply is a list of operations like any manager's. What was sampled is on record as a language model's
tokens are: `Completion.completion_ids` holds the decisions as 1 and 0, first those on the sentences, and `logprobs`
the logarithms of their chances. So the gradient of a step follows from its record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.sentences import sentences
from finemem_pipeline.memory import Insert, MemoryBank, MemoryItem, Operation, Skip, Update, format_operations
from finemem_pipeline.rollouts import Completion

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

KEEP = (
    "always",  # 1
    "number",  # a word with a digit
    "names",  # capitalised words after the first: 0, ½ for one, 1 for more
    "place",  # under, inside, behind
    "taste",  # likes, favourite, allergic
    "past",  # says what was
    "changed",  # now, new, moved: a correction
    "talk",  # never, too, all: words of idle talk
    "length",  # words/10 − 1
    "position",  # in the chunk, from −½ to ½
    "known",  # resembles an item
)
"""What the first logistic sees of a sentence, in the order of its weights. 1 or 0 where nothing else is said."""

OVERWRITE = (
    "always",  # 1
    "shared",  # share of the sentence's words that the item has too, − ½
    "changed",  # the sentence is a correction
    "number",  # both have a number, or neither has
    "names",  # both have as many names
)
"""What the second logistic sees of a sentence and the item it resembles; its weights follow those of KEEP."""

WEIGHTS = len(KEEP) + len(OVERWRITE)

SHARED = 2
"""Words that a sentence has in common with an item it resembles. Short ones without a digit do not count."""

START = 0.3
"""The chance of keeping a sentence, and of overwriting the item it resembles, before anything is learned."""


def start_weights(keep: float = START, overwrite: float = START) -> Array:
    """The weights (P,) under which a decision has the same chance whatever the sentence."""
    weights = np.zeros(WEIGHTS)
    weights[0] = math.log(keep / (1 - keep))
    weights[len(KEEP)] = math.log(overwrite / (1 - overwrite))
    return weights


class SentencePolicy:
    """A Manager with weights (P,), those of KEEP before those of OVERWRITE. Greedy: it decides for the likelier."""

    def __init__(self, weights: Array, seed: int | Sequence[int] = 0, *, greedy: bool = False) -> None:
        if weights.shape != (WEIGHTS,):
            raise ValueError(f"a policy has {WEIGHTS} weights, found an array of shape {weights.shape}")
        self.weights = weights
        self.greedy = greedy
        self._random = np.random.default_rng(seed)

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        chunks = [_read(each.chunk.text) for each in observations]
        nearest = [chunk.resembled(each.bank) for chunk, each in zip(chunks, observations, strict=True)]
        kept = self._decide([_keep_rows(chunk, near) for chunk, near in zip(chunks, nearest, strict=True)])
        pairs = [_pairs(chunk, near, taken) for chunk, near, (taken, _) in zip(chunks, nearest, kept, strict=True)]
        overwritten = self._decide([_overwrite_rows(each) for each in pairs])
        return [
            Turn(_completion(chunk, near, *keep, *overwrite))
            for chunk, near, keep, overwrite in zip(chunks, nearest, kept, overwritten, strict=True)
        ]

    def _decide(self, rows: Sequence[Array]) -> list[tuple[Flags, Array]]:
        """For every (n, P) what is decided (n,), and the logarithms of the chances of that (n,)."""
        chance = chances(self.weights, np.concatenate(rows)) if rows else np.empty(0)
        taken = chance > 0.5 if self.greedy else self._random.random(len(chance)) < chance
        logprobs = np.log(np.where(taken, chance, 1 - chance))
        ends = np.cumsum([len(each) for each in rows])[:-1]
        return list(zip(np.split(taken, ends), np.split(logprobs, ends), strict=True))


def chances(weights: Array, rows: Array) -> Array:
    """σ(rows·weights) (n,), neither 0 nor 1, so that what was decided never was impossible."""
    return np.asarray(1 / (1 + np.exp(-np.clip(rows @ weights, -_LIMIT, _LIMIT))))


def decisions(text: str, before: MemoryBank, completion: Completion) -> tuple[Array, Array]:
    """What a recorded step decided on: features (n, P), and 1 for yes or 0 for no (n,).

    `text` is the chunk's, `before` M_{t−1}. ∇ log π of the step is (taken − chances)·rows.
    Raises ValueError if the completion is none of this policy's replies to them.
    """
    chunk = _read(text)
    near = chunk.resembled(before)
    taken = np.array(completion.completion_ids, dtype=np.float64)
    pairs = _pairs(chunk, near, taken[: len(near)] > 0)
    if len(taken) != len(near) + len(pairs):
        raise ValueError(f"{len(taken)} decisions on record, {len(near)} sentences and {len(pairs)} items to overwrite")
    return np.concatenate([_keep_rows(chunk, near), _overwrite_rows(pairs)]), taken


_LIMIT = 30.0  # σ(±30) is still apart from 1 and 0 in a float, and its gradient as good as nothing


@dataclass(frozen=True, slots=True, eq=False)
class _Sentence:
    text: str
    words: frozenset[str]  # those that count for resembling
    kinds: Array  # (|KEEP|,), but for position and known


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """A chunk cut into sentences, and what they share with the items seen so far."""

    sentences: tuple[_Sentence, ...]  # (n,)
    rows: Array  # (n, P), but for known
    holders: dict[str, tuple[int, ...]]  # word -> the sentences that have it
    shared: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)  # item text -> (sentence, words)

    def resembled(self, bank: MemoryBank) -> list[MemoryItem | None]:
        """For every sentence the item it shares most words with, the newest of equals; None where they are too few."""
        most = [SHARED] * len(self.sentences)
        found: list[MemoryItem | None] = [None] * len(self.sentences)
        for item in bank.items:
            if item.text not in self.shared:
                self.shared[item.text] = self._share(_sentence(item.text).words)
            for place, count in self.shared[item.text]:
                if count >= most[place]:
                    most[place], found[place] = count, item
        return found

    def _share(self, words: frozenset[str]) -> tuple[tuple[int, int], ...]:
        counts: dict[int, int] = {}
        for word in words:
            for place in self.holders.get(word, ()):
                counts[place] = counts.get(place, 0) + 1
        return tuple((place, count) for place, count in sorted(counts.items()) if count >= SHARED)


@lru_cache(maxsize=1024)
def _read(text: str) -> _Chunk:
    """Cached: siblings read the same chunk, and so does the gradient."""
    found = tuple(map(_sentence, sentences(text)))
    rows = np.zeros((len(found), WEIGHTS))
    holders: dict[str, list[int]] = {}
    for place, sentence in enumerate(found):
        rows[place, : len(KEEP)] = sentence.kinds
        rows[place, _POSITION] = place / max(1, len(found) - 1) - 0.5
        for word in sentence.words:
            holders.setdefault(word, []).append(place)
    return _Chunk(found, rows, {word: tuple(places) for word, places in holders.items()})


@lru_cache(maxsize=16384)
def _sentence(text: str) -> _Sentence:
    words = text.split()
    kinds = np.zeros(len(KEEP))
    kinds[0] = 1.0
    kinds[KEEP.index("number")] = bool(_DIGIT.search(text))
    kinds[KEEP.index("names")] = min(2, sum(word[0].isupper() for word in words[1:])) / 2
    kinds[KEEP.index("length")] = len(words) / 10 - 1
    for kind, pattern in _KINDS.items():
        kinds[KEEP.index(kind)] = bool(pattern.search(text))
    counting = (word for word in _WORD.findall(text.lower()) if len(word) > 3 or _DIGIT.search(word))
    return _Sentence(text, frozenset(counting), kinds)


@lru_cache(maxsize=16384)
def _pair(new: str, old: str) -> Array:
    """(P,) what the second logistic sees."""
    one, other = _sentence(new), _sentence(old)
    row = np.zeros(WEIGHTS)
    alike = one.kinds == other.kinds
    row[len(KEEP) :] = [
        1.0,
        len(one.words & other.words) / len(one.words) - 0.5,
        one.kinds[KEEP.index("changed")],
        alike[KEEP.index("number")],
        alike[KEEP.index("names")],
    ]
    return row


def _keep_rows(chunk: _Chunk, near: Sequence[MemoryItem | None]) -> Array:
    rows = chunk.rows.copy()
    rows[:, _KNOWN] = [item is not None for item in near]
    return rows


def _pairs(chunk: _Chunk, near: Sequence[MemoryItem | None], kept: Flags) -> list[Array]:
    """The features of every kept sentence that resembles an item, with that item."""
    return [
        _pair(sentence.text, item.text)
        for sentence, item, keep in zip(chunk.sentences, near, kept, strict=True)
        if keep and item is not None
    ]


def _overwrite_rows(pairs: Sequence[Array]) -> Array:
    return np.stack(pairs) if pairs else np.empty((0, WEIGHTS))


def _completion(
    chunk: _Chunk,
    near: Sequence[MemoryItem | None],
    kept: Flags,
    keep_logprobs: Array,
    overwritten: Flags,
    overwrite_logprobs: Array,
) -> Completion:
    operations: list[Operation] = []
    overwrites = iter(overwritten.tolist())
    for sentence, item, keep in zip(chunk.sentences, near, kept.tolist(), strict=True):
        if keep:
            over = item is not None and next(overwrites)
            operations.append(Update(item.id, sentence.text) if over and item else Insert(sentence.text))
    return Completion(
        format_operations(operations or [Skip()]),
        completion_ids=tuple(map(int, [*kept, *overwritten])),
        logprobs=(*keep_logprobs.tolist(), *overwrite_logprobs.tolist()),
    )


def _any_of(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words.split())})\b", re.IGNORECASE)


_POSITION, _KNOWN = KEEP.index("position"), KEEP.index("known")
_WORD = re.compile(r"\w+")
_DIGIT = re.compile(r"\d")
_KINDS = {
    "past": re.compile(
        r"\b(?:was|were|did|had|said|told|fell|found|brought|slept|left|gave"
        r"|(?!called|named|changed|moved|allowed)\w+ed)\b",
        re.IGNORECASE,
    ),
    "taste": _any_of("favourite favorite like likes prefers best better allergic allergy"),
    "place": _any_of("under inside behind above beside"),
    "changed": _any_of("now new changed moved instead again different"),
    "talk": _any_of("never always too all no not every own other says thinks would"),
}
