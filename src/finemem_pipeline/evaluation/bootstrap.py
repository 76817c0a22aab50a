"""How sure a mean, or the difference between two managers, is: a hierarchical bootstrap.

A resample draws, within each source, as many streams as there are, and within each drawn stream as many questions
as it has, both with replacement; then it takes the mean over sources as `aggregate` does. Sources are not drawn:
they are the table's rows, not a sample of something. Managers are compared question by question, so what makes a
stream hard for both cancels.

Drawing questions as well as streams keeps an interval from collapsing where a source has few streams; a source with
one stream is judged by its questions alone, which says nothing about other streams. The price is width: with many
streams and nothing but question noise the interval is up to 1.4 times as wide as it need be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from finemem_pipeline.evaluation.results import StreamResult

Values = list[list[np.ndarray]]
"""Per source, per stream, the (Q,) values of its questions; no empty source or stream."""

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
    scores_a, scores_b = _scores(a), _scores(b)
    both: dict[tuple[str, str], list[float]] = {}
    unscored = 0
    for key in sorted(scores_a.keys() | scores_b.keys()):
        left, right = scores_a.get(key), scores_b.get(key)
        if left is None or right is None:
            unscored += 1
        else:
            both.setdefault(key[:2], []).append(left - right)
    values: dict[str, list[np.ndarray]] = {}
    for (source, _), differences in both.items():
        values.setdefault(source, []).append(np.array(differences))
    drawn = bootstrap_means(list(values.values()), resamples=resamples, seed=seed) if values else np.empty(0)
    low, high = _percentiles(drawn, level) if values else (None, None)
    return Difference(
        mean=_mean_over_sources(list(values.values())) if values else None,
        low=low,
        high=high,
        error=float(drawn.std(ddof=1)) if values else None,
        n_sources=len(values),
        n_streams=len(both),
        n_questions=sum(map(len, both.values())),
        unscored=unscored,
        level=level,
    )


def score_interval(
    results: Sequence[StreamResult], *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval | None:
    """The interval of one manager's mean score; None if nothing is scored."""
    scored = _values(results, _scored)
    return Interval(*_percentiles(bootstrap_means(scored, resamples=resamples, seed=seed), level)) if scored else None


def tokens_interval(
    results: Sequence[StreamResult], *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval | None:
    """The interval of one manager's mean memory tokens; None without streams. A source with one stream adds none."""
    tokens = _values(results, lambda r: [r.memory_tokens])
    return Interval(*_percentiles(bootstrap_means(tokens, resamples=resamples, seed=seed), level)) if tokens else None


def bootstrap_means(values: Values, *, resamples: int, seed: int) -> np.ndarray:
    """(resamples,) means over sources, each of one resample."""
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for streams in values:
        total += _source_means(streams, resamples, rng)
    return total / len(values)


def _source_means(streams: Sequence[np.ndarray], resamples: int, rng: np.random.Generator) -> np.ndarray:
    lengths = np.array([len(stream) for stream in streams])
    padded = np.zeros((len(streams), lengths.max()))
    for row, stream in zip(padded, streams, strict=True):
        row[: len(stream)] = stream
    means = np.empty(resamples)
    at_once = max(1, _DRAWS // padded.size)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        chosen = rng.integers(0, len(streams), (count, len(streams)))
        length = lengths[chosen][:, :, None]  # (count, S, 1)
        question = (rng.random((count, *padded.shape), dtype=np.float32) * length).astype(np.intp)
        # A float32 just below 1 times the length may round up to the length itself.
        drawn = padded[chosen[:, :, None], np.minimum(question, length - 1)]
        drawn[np.arange(padded.shape[1]) >= length] = 0.0
        means[start : start + count] = (drawn.sum(axis=2) / length[:, :, 0]).mean(axis=1)
    return means


def _scores(results: Iterable[StreamResult]) -> dict[tuple[str, str, str], float | None]:
    return {
        (question.source, question.stream, question.question): question.score
        for result in results
        for question in result.questions
    }


def _scored(result: StreamResult) -> list[float]:
    return [question.score for question in result.questions if question.score is not None]


def _values(results: Iterable[StreamResult], values: Callable[[StreamResult], list[float]]) -> Values:
    sources: dict[str, list[np.ndarray]] = {}
    for result in sorted(results, key=lambda r: (r.source, r.stream)):
        if found := values(result):
            sources.setdefault(result.source, []).append(np.array(found))
    return list(sources.values())


def _mean_over_sources(values: Values) -> float:
    return float(np.mean([np.mean([stream.mean() for stream in streams]) for streams in values]))


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
