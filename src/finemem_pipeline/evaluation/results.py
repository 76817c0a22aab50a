"""What an evaluation found: one record per stream and manager, taken from the rollouts and nothing else.

A stream that was played more than once (several siblings) counts once: a question's score is the mean over the
siblings that scored it, and tokens, operations and refusals are means over the siblings. An evaluation is
normally greedy and has one sibling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from finemem_pipeline.episodes import Episode
from finemem_pipeline.rollouts import Rollout, RolloutGroup

OPERATIONS: tuple[str, ...] = ("insert", "update", "delete", "skip")


@dataclass(frozen=True, slots=True)
class QuestionResult:
    """One final question, as one manager's memory let it be answered."""

    manager: str
    source: str
    task: str
    stream: str
    question: str
    metric: str
    score: float | None  # in [0, 1]; None: not scored


@dataclass(frozen=True, slots=True)
class StreamResult:
    """One manager on one stream. Counts are per pass over the stream."""

    manager: str
    source: str
    task: str
    stream: str
    memory_tokens: float  # L(M_T)
    tokens_read: float  # Σ_t L(c_t)
    steps: int  # T
    refused: float  # operations that the bank did not accept
    malformed: float  # fragments that were no operation
    operations: Mapping[str, float]  # as written, refused ones included, by kind
    questions: tuple[QuestionResult, ...]  # (N,)


def results_from_rollouts(
    manager: str, episodes: Sequence[Episode], groups: Sequence[RolloutGroup]
) -> list[StreamResult]:
    """One record per group, in the order of the groups. Every final question of the stream is there; one without
    an answer is unscored.

    Raises ValueError for a group whose stream is not among `episodes`.
    """
    by_id = {episode.id: episode for episode in episodes}
    strangers = [group.episode_id for group in groups if group.episode_id not in by_id]
    if strangers:
        raise ValueError(f"{manager}: no stream is known for the rollouts of {', '.join(strangers[:5])}")
    return [_stream(manager, by_id[group.episode_id], group.rollouts) for group in groups]


def encode(results: Iterable[StreamResult]) -> list[dict[str, Any]]:
    """The results as JSON holds them."""
    return [asdict(result) for result in results]


def decode(rows: Iterable[Mapping[str, Any]]) -> list[StreamResult]:
    """The results that `encode` wrote."""
    return [
        StreamResult(**{**row, "questions": tuple(QuestionResult(**question) for question in row["questions"])})
        for row in rows
    ]


def _stream(manager: str, episode: Episode, rollouts: Sequence[Rollout]) -> StreamResult:
    def per_pass(count: Callable[[Rollout], float]) -> float:
        return fmean(count(rollout) for rollout in rollouts)

    scores = [{answer.question_id: answer.score for answer in rollout.answers} for rollout in rollouts]
    kinds = [_kinds(rollout) for rollout in rollouts]
    return StreamResult(
        manager=manager,
        source=episode.source,
        task=episode.task,
        stream=episode.id,
        memory_tokens=per_pass(lambda rollout: rollout.final_tokens),
        tokens_read=per_pass(lambda rollout: rollout.tokens_read),
        steps=episode.steps,
        refused=per_pass(lambda r: sum(done.refused is not None for step in r.steps for done in step.operations)),
        malformed=per_pass(lambda r: sum(len(step.malformed) for step in r.steps)),
        operations={kind: fmean(counter[kind] for counter in kinds) for kind in OPERATIONS},
        questions=tuple(
            QuestionResult(
                manager=manager,
                source=episode.source,
                task=episode.task,
                stream=episode.id,
                question=question.id,
                metric=question.metric,
                score=_mean([found.get(question.id) for found in scores]),
            )
            for question in episode.questions
        ),
    )


def _kinds(rollout: Rollout) -> Counter[str]:
    """Operations by kind. A step that wrote nothing at all, `[]`, means the same as SKIP."""
    written: Counter[str] = Counter()
    for step in rollout.steps:
        written.update(type(done.operation).__name__.lower() for done in step.operations)
        written["skip"] += not step.operations and not step.malformed
    return written


def _mean(scores: Sequence[float | None]) -> float | None:
    scored = [score for score in scores if score is not None]
    return fmean(scored) if scored else None
