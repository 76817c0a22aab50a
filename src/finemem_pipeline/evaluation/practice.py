"""Training as an evaluation sees it: what was asked at every update, averaged and bootstrapped as held-out answers are.

At each update other streams are played and other questions are asked of them, the same for all variants of one seed.
Every sibling counts as a rebuild of its stream, and a stream that comes again at a later update as another stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from finemem_pipeline.episodes import Episode
from finemem_pipeline.evaluation.aggregate import mean_over_sources
from finemem_pipeline.evaluation.bootstrap import ends, score_interval, tokens_interval
from finemem_pipeline.evaluation.results import (
    OPERATIONS,
    StreamResult,
    decode,
    encode,
    rebuilds_merged,
    results_from_rollouts,
)
from finemem_pipeline.rollouts import RolloutGroup

SHARE = "share/"
"""What the metrics of an update call a reward's share of the variance."""


@dataclass(frozen=True, slots=True)
class Update:
    """One update of one training."""

    update: int  # from 1
    shares: Mapping[str, float]  # by reward, of the variance among siblings; empty where there was none
    results: tuple[StreamResult, ...]  # one per stream and sibling


def practice(
    variant: str, seed: int, update: int, groups: Sequence[RolloutGroup], episodes: Mapping[str, Episode]
) -> list[StreamResult]:
    """What the siblings of an update scored on the questions that they were asked."""
    found = []
    for place, group in enumerate(groups):
        episode = episodes[group.episode_id]
        for rollout in group.rollouts:
            asked = {answer.question_id for answer in rollout.answers}
            drawn = replace(episode, questions=tuple(q for q in episode.questions if q.id in asked))
            alone = RolloutGroup(group.episode_id, (rollout,))
            [result] = results_from_rollouts(variant, [drawn], [alone], seed=rollout.sibling, training_seed=seed)
            found.append(replace(result, stream=f"{update}.{place} {result.stream}"))
    return found


def shares(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What steered the update, by reward."""
    told = {name.removeprefix(SHARE): value for name, value in metrics.items() if name.startswith(SHARE)}
    return {name: value for name, value in told.items() if value is not None}


def encode_updates(updates: Iterable[Update]) -> list[dict[str, Any]]:
    """As JSON holds them."""
    return [{"update": each.update, "shares": dict(each.shares), "results": encode(each.results)} for each in updates]


def decode_updates(rows: Iterable[Mapping[str, Any]]) -> list[Update]:
    """The updates that `encode_updates` wrote."""
    return [Update(row["update"], row["shares"], tuple(decode(row["results"]))) for row in rows]


def curve(
    trainings: Sequence[Sequence[Update]],
    steps: int,
    *,
    points: int = 30,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[dict[str, Any]]:
    """How one variant went, over all its trainings: at most so many points, each over the same number of updates.

    Keys of a point: `first` and `last` update; `score` and `memory_tokens`, averaged as everywhere, each with its
    bootstrap interval (`low`, `high`, `tokens_low`, `tokens_high`); `n` and `unscored` answers, siblings each by
    itself; `streams`, `rollouts`, `seeds`; `operations` per chunk by kind; `shares`: mean and n by reward, over the
    updates that had any.
    """
    width = max(1, math.ceil(steps / points))
    drawing: dict[str, Any] = {"resamples": resamples, "seed": seed, "level": level}
    return [
        _point(first, min(first + width - 1, steps), list(_between(trainings, first, first + width)), drawing)
        for first in range(1, steps + 1, width)
    ]


def _between(trainings: Sequence[Sequence[Update]], first: int, end: int) -> Iterator[Update]:
    for updates in trainings:
        yield from (each for each in updates if first <= each.update < end)


def _point(first: int, last: int, updates: Sequence[Update], drawing: Mapping[str, Any]) -> dict[str, Any]:
    played = [result for each in updates for result in each.results]
    scores = [question.score for result in played for question in result.questions]
    mean = mean_over_sources(rebuilds_merged(played))
    chunks = sum(result.steps for result in played)
    names = dict.fromkeys(name for each in updates for name in each.shares)
    steered = {name: [each.shares[name] for each in updates if name in each.shares] for name in names}
    return {
        "first": first,
        "last": last,
        "score": mean.score,
        **ends("", score_interval(played, **drawing)),
        "memory_tokens": mean.memory_tokens,
        **ends("tokens_", tokens_interval(played, **drawing)),
        "n": sum(score is not None for score in scores),
        "unscored": sum(score is None for score in scores),
        "streams": len({(result.training_seed, result.stream) for result in played}),
        "rollouts": len(played),
        "seeds": len({result.training_seed for result in played}),
        "operations": {
            kind: sum(result.operations.get(kind, 0.0) for result in played) / chunks if chunks else None
            for kind in OPERATIONS
        },
        "shares": {name: {"mean": fmean(values), "n": len(values)} for name, values in steered.items()},
    }
