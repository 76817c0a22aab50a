"""Scores by how much was read: whether a manager keeps up on streams longer than those it learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from finemem_pipeline.evaluation.results import StreamResult

EDGES = (0, 4_000, 16_000, 64_000, 256_000, None)
"""Tokens read, each edge four times the one before."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Streams of like length."""

    low: int  # tokens read, from here on
    high: int | None  # up to here, this one left out; None: any length
    streams: frozenset[tuple[str, str]]  # benchmark and stream
    beyond: bool | None  # every stream is longer than all that were trained on; None: not known

    @property
    def name(self) -> str:
        """4k–16k"""
        if self.high is None:
            return f"from {_short(self.low)}"
        return f"{_short(self.low)}–{_short(self.high)}" if self.low else f"up to {_short(self.high)}"

    def of(self, results: Iterable[StreamResult]) -> list[StreamResult]:
        """The results on its streams."""
        return [result for result in results if (result.benchmark, result.stream) in self.streams]


def buckets(results: Sequence[StreamResult], longest_trained: float | None = None) -> list[Bucket]:
    """The buckets that hold a stream, shortest first. `longest_trained` is the longest training stream in tokens."""
    lengths = {(result.benchmark, result.stream): result.tokens_read for result in results}
    found = []
    for low, high in pairwise(EDGES):
        assert low is not None  # the open end is the last edge
        inside = {key: read for key, read in lengths.items() if low <= read and (high is None or read < high)}
        if inside:
            beyond = None if longest_trained is None else min(inside.values()) > longest_trained
            found.append(Bucket(low, high, frozenset(inside), beyond))
    return found


def _short(tokens: int) -> str:
    return f"{tokens // 1000}k"
