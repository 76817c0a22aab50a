"""How sure a mean, or the difference between two managers, is: a hierarchical bootstrap.

A resample draws, all with replacement: as many training seeds as a manager was trained with, once for all sources, as
a seed is the same everywhere; within each source as many streams as there are; within each drawn stream as many
rebuilds as a sampling manager made of it, anew for each drawn training seed; and as many questions as the stream has.
A question's value is its mean over the drawn rebuilds; then come the means over questions, streams and sources, as
`aggregate` takes them. Sources are not drawn: they are the table's rows, not a sample of something.

Managers are compared question by question, so what makes a stream hard for both cancels; two that were trained with
the same seeds are compared seed by seed too. Rebuilds are each manager's own.

Drawing questions as well as streams keeps an interval from collapsing where a source has few streams; a source with
one stream is judged by its questions alone, which says nothing about other streams. The price is width: with many
streams and nothing but question noise the interval is up to 1.4 times as wide as it need be. The same holds the other
way round for seeds: one seed adds nothing to the interval, and of R of them the bootstrap sees (R − 1)/R of their
variance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finemem_pipeline.evaluation.aggregate import Column, column
from finemem_pipeline.evaluation.results import StreamResult

Values = list[list[np.ndarray]]
"""Per source, per stream, (K, R, Q): training seeds, rebuilds, questions. NaN: not scored. Of a stream's questions each
has a number somewhere; no empty source or stream."""

_DRAWS = 2_000_000  # question draws held in memory at once


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of a minus mean of b on the questions that both have scored. None: there is no such question."""

    mean: float | None
    low: float | None
    high: float | None
    error: float | None  # bootstrap standard error
    n_sources: int
    n_streams: int
    n_questions: int
    unscored: int  # questions that only one of the two, or neither, has scored
    level: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def detectable(self) -> float | None:
        """The smallest true difference that a comparison of this size would show four times in five: (z.975 + z.8)
        standard errors. None where the questions differ too little among themselves to tell.
        """
        return (1.959964 + 0.841621) * self.error if self.error else None


@dataclass(frozen=True, slots=True)
class Interval:
    """One manager's own mean over sources."""

    low: float
    high: float


def ends(prefix: str, interval: Interval | None) -> dict[str, float | None]:
    """An interval as documents hold it: <prefix>low and <prefix>high, None where there is none."""
    return {
        f"{prefix}low": interval.low if interval else None,
        f"{prefix}high": interval.high if interval else None,
    }


def paired_difference(
    a: Iterable[StreamResult],
    b: Iterable[StreamResult],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """a − b, question by question, with the percentile interval of `resamples` bootstrap means.

    The order of the streams and questions does not matter.
    """
    left, right = _Scores(a), _Scores(b)
    one: Values = []
    other: Values = []
    streams = questions = unscored = 0
    for place in sorted(left.streams.keys() | right.streams.keys()):
        ours: list[np.ndarray] = []
        theirs: list[np.ndarray] = []
        for stream in sorted(left.of(place) | right.of(place)):
            scored_left, scored_right = left.scored(place, stream), right.scored(place, stream)
            both = sorted(scored_left & scored_right)
            unscored += len(left.asked(place, stream) | right.asked(place, stream)) - len(both)
            if both:
                ours.append(left.array(place, stream, both))
                theirs.append(right.array(place, stream, both))
                questions += len(both)
        if ours:
            one.append(ours)
            other.append(theirs)
            streams += len(ours)
    if one:
        together = left.seeds == right.seeds
        drawn = bootstrap_means([one, other], resamples=resamples, seed=seed, same_seeds=together)
    low, high = _percentiles(drawn, level) if one else (None, None)
    return Difference(
        mean=_mean_over_sources([one, other]) if one else None,
        low=low,
        high=high,
        error=float(np.nanstd(drawn, ddof=1)) if one else None,
        n_sources=len(one),
        n_streams=streams,
        n_questions=questions,
        unscored=unscored,
        level=level,
    )


def score_interval(
    results: Sequence[StreamResult], *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval | None:
    """The interval of one manager's mean score; None if nothing is scored."""
    values = _values(results, lambda r: [(q.question, q.score) for q in r.questions])
    return _interval(values, resamples, seed, level)


def tokens_interval(
    results: Sequence[StreamResult], *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval | None:
    """The interval of one manager's mean memory tokens; None without streams. A source with one stream adds none."""
    return _interval(_values(results, lambda r: [("", r.memory_tokens)]), resamples, seed, level)


def bootstrap_means(sides: Sequence[Values], *, resamples: int, seed: int, same_seeds: bool = False) -> np.ndarray:
    """(resamples,) means over sources, each of one resample: of one side, or of the first less the second.

    Both sides hold the same sources, streams and questions. With `same_seeds` they share the draw of training seeds.
    A question none of whose drawn rebuilds is scored is left out of its resample; a resample without any is NaN.
    """
    rng = np.random.default_rng(seed)
    seeds: list[np.ndarray] = []
    for side in sides:
        count = side[0][0].shape[0]
        if seeds and same_seeds:
            seeds.append(seeds[0])
        else:
            seeds.append(rng.integers(0, count, (resamples, count)) if count > 1 else np.zeros((resamples, 1), int))
    total, found = np.zeros(resamples), np.zeros(resamples)
    for streams in zip(*sides, strict=True):
        means = _source_means(streams, seeds, resamples, rng)
        scored = ~np.isnan(means)
        total += np.where(scored, means, 0.0)
        found += scored
    return np.divide(total, found, out=np.full(resamples, np.nan), where=found > 0)


def _source_means(
    sides: Sequence[Sequence[np.ndarray]], seeds: Sequence[np.ndarray], resamples: int, rng: np.random.Generator
) -> np.ndarray:
    lengths = np.array([stream.shape[2] for stream in sides[0]])
    padded = [_padded(streams, lengths.max()) for streams in sides]
    means = np.empty(resamples)
    at_once = max(1, _DRAWS // (len(lengths) * int(lengths.max())))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        chosen = rng.integers(0, len(lengths), (count, len(lengths)))
        length = lengths[chosen][:, :, None]  # (count, S, 1)
        question = (rng.random((count, len(lengths), lengths.max()), dtype=np.float32) * length).astype(np.intp)
        # A float32 just below 1 times the length may round up to the length itself.
        question = np.minimum(question, length - 1)
        values = [
            _drawn(side, chosen, drawn[start : start + count], question, rng)
            for side, drawn in zip(padded, seeds, strict=True)
        ]
        value = values[0] if len(values) == 1 else values[0] - values[1]
        value[np.broadcast_to(np.arange(lengths.max()) >= length, value.shape)] = np.nan
        means[start : start + count] = _nanmean(_nanmean(value))
    return means


def _drawn(
    side: np.ndarray, chosen: np.ndarray, seeds: np.ndarray, question: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(count, S, Q) means over the drawn training seeds and rebuilds of one side (S, K, R, Q)."""
    _, trained, rebuilds, _ = side.shape
    stream = chosen[:, :, None]
    if trained == rebuilds == 1:
        return side[stream, 0, 0, question]
    rebuild = rng.integers(0, rebuilds, (*chosen.shape, trained, rebuilds))
    total, scored = np.zeros(question.shape), np.zeros(question.shape)
    for k in range(trained):
        for r in range(rebuilds):
            value = side[stream, seeds[:, k, None, None], rebuild[:, :, k, r, None], question]
            scored += ~np.isnan(value)
            total += np.nan_to_num(value)
    return np.divide(total, scored, out=np.full(total.shape, np.nan), where=scored > 0)


def _padded(streams: Sequence[np.ndarray], longest: int) -> np.ndarray:
    """(S, K, R, Q) of streams (K, R_s, Q_s), filled with NaN."""
    trained, rebuilds = streams[0].shape[0], max(stream.shape[1] for stream in streams)
    padded = np.full((len(streams), trained, rebuilds, longest), np.nan)
    for row, stream in zip(padded, streams, strict=True):
        row[:, : stream.shape[1], : stream.shape[2]] = stream
    return padded


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is a number; NaN of nothing."""
    found = ~np.isnan(values)
    count = found.sum(axis=-1)
    total = np.where(found, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


class _Scores:
    """The scores of one manager, found by source, stream and question."""

    def __init__(self, results: Iterable[StreamResult], values: Callable[[StreamResult], Any] | None = None) -> None:
        told = values or (lambda r: [(q.question, q.score) for q in r.questions])
        self.streams: dict[Column, dict[str, dict[tuple[int | None, int], dict[str, float | None]]]] = {}
        for result in results:
            rebuilds = self.streams.setdefault(column(result), {}).setdefault(result.stream, {})
            rebuilds[result.training_seed, result.seed] = dict(told(result))
        found = {trained for each in self.streams.values() for rebuilds in each.values() for trained, _ in rebuilds}
        self.seeds = sorted(found, key=lambda trained: -1 if trained is None else trained)

    def of(self, place: Column) -> set[str]:
        return set(self.streams.get(place, ()))

    def asked(self, place: Column, stream: str) -> set[str]:
        rebuilds = self.streams.get(place, {}).get(stream, {})
        return {question for scores in rebuilds.values() for question in scores}

    def scored(self, place: Column, stream: str) -> set[str]:
        rebuilds = self.streams.get(place, {}).get(stream, {})
        return {name for scores in rebuilds.values() for name, score in scores.items() if score is not None}

    def array(self, place: Column, stream: str, questions: Sequence[str]) -> np.ndarray:
        """(K, R, Q)"""
        rebuilds = self.streams[place][stream]
        seeds = sorted({seed for _, seed in rebuilds})
        empty: dict[str, float | None] = {}
        return np.array(
            [[[rebuilds.get((k, r), empty).get(q) for q in questions] for r in seeds] for k in self.seeds], dtype=float
        )


def _values(results: Iterable[StreamResult], told: Callable[[StreamResult], Any]) -> Values:
    scores = _Scores(results, told)
    sources: Values = []
    for place in sorted(scores.streams):
        streams = [
            scores.array(place, stream, sorted(found))
            for stream in sorted(scores.of(place))
            if (found := scores.scored(place, stream))
        ]
        if streams:
            sources.append(streams)
    return sources


def _interval(values: Values, resamples: int, seed: int, level: float) -> Interval | None:
    if not values:
        return None
    return Interval(*_percentiles(bootstrap_means([values], resamples=resamples, seed=seed), level))


def _mean_over_sources(sides: Sequence[Values]) -> float:
    """Of one side, or of the first less the second."""

    def questions(stream: np.ndarray) -> np.ndarray:
        return _nanmean(stream.reshape(-1, stream.shape[2]).T)

    means = [
        np.mean([(questions(parts[0]) - sum(map(questions, parts[1:]))).mean() for parts in zip(*streams, strict=True)])
        for streams in zip(*sides, strict=True)
    ]
    return float(np.mean(means))


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
