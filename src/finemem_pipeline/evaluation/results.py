"""What an evaluation found: one record per stream, manager and rebuild, taken from the rollouts and nothing else.

A stream is rebuilt once for every manager seed, where the manager samples, and played once for every training seed of
a trained policy. Several siblings of one rollout group count as one rebuild: a question's score is the mean over the
siblings that scored it, and tokens, operations and refusals are means over the siblings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.memory import CountTokens
from finemem_pipeline.metrics import PUBLISHED, published_score
from finemem_pipeline.rollouts import Answer, Rollout, RolloutGroup

OPERATIONS: tuple[str, ...] = ("insert", "update", "delete", "skip")

TEST = "test"
"""The benchmark that is the data pipeline's own test split."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a language model was asked for."""

    calls: float = 0.0
    tokens_in: float = 0.0  # of the prompts
    tokens_out: float = 0.0  # of the replies
    seconds: float = 0.0  # spent waiting for them


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
    published: float | None = None  # the same answer by the scorer of the published tables


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
    benchmark: str = TEST  # the held-out set it belongs to
    seed: int = 0  # of the manager's sampling: which rebuild this is
    training_seed: int | None = None  # of the training that the manager comes from
    write: Spent = field(default_factory=Spent)  # what the manager's model did
    read: Spent = field(default_factory=Spent)  # what the reader was asked for


def results_from_rollouts(
    manager: str,
    episodes: Sequence[Episode],
    groups: Sequence[RolloutGroup],
    *,
    benchmark: str = TEST,
    seed: int = 0,
    training_seed: int | None = None,
    spent: Sequence[Spent] | None = None,
    count_tokens: CountTokens = lambda text: 0,
) -> list[StreamResult]:
    """One record per group, in the order of the groups. Every final question of the stream is there; one without
    an answer is unscored.

    `spent` is what the manager's model did for each group. What the reader was asked for is counted in the answers:
    one call for each, its question and retrieved texts in, its reply out; instructions are not counted, and an answer
    from the cache costs as much as a fresh one.
    Raises ValueError for a group whose stream is not among `episodes`.
    """
    by_id = {episode.id: episode for episode in episodes}
    strangers = [group.episode_id for group in groups if group.episode_id not in by_id]
    if strangers:
        raise ValueError(f"{manager}: no stream is known for the rollouts of {', '.join(strangers[:5])}")
    found = []
    for group, cost in zip(groups, spent or [Spent()] * len(groups), strict=True):
        episode = by_id[group.episode_id]
        told = _stream(manager, episode, group.rollouts)
        found.append(
            StreamResult(
                **told,
                benchmark=benchmark,
                seed=seed,
                training_seed=training_seed,
                write=cost,
                read=_read(episode, group.rollouts, count_tokens),
            )
        )
    return found


def rebuilds_merged(results: Iterable[StreamResult]) -> list[StreamResult]:
    """One record per manager and stream: everything averaged over training seeds and rebuilds.

    A question's score is the mean over the rebuilds that have scored it. Records come in order of first appearance.
    """
    groups: dict[tuple[str, str, str, str], list[StreamResult]] = {}
    for result in results:
        groups.setdefault((result.manager, result.benchmark, result.source, result.stream), []).append(result)
    return [_merged(rebuilds) if len(rebuilds) > 1 else rebuilds[0] for rebuilds in groups.values()]


def encode(results: Iterable[StreamResult]) -> list[dict[str, Any]]:
    """The results as JSON holds them."""
    return [asdict(result) for result in results]


def decode(rows: Iterable[Mapping[str, Any]]) -> list[StreamResult]:
    """The results that `encode` wrote."""
    return [
        StreamResult(
            **{
                **row,
                "questions": tuple(QuestionResult(**question) for question in row["questions"]),
                "write": Spent(**row["write"]),
                "read": Spent(**row["read"]),
            }
        )
        for row in rows
    ]


def _stream(manager: str, episode: Episode, rollouts: Sequence[Rollout]) -> dict[str, Any]:
    def per_pass(count: Callable[[Rollout], float]) -> float:
        return fmean(count(rollout) for rollout in rollouts)

    answers = [{answer.question_id: answer for answer in rollout.answers} for rollout in rollouts]
    kinds = [_kinds(rollout) for rollout in rollouts]
    return {
        "manager": manager,
        "source": episode.source,
        "task": episode.task,
        "stream": episode.id,
        "memory_tokens": per_pass(lambda rollout: rollout.final_tokens),
        "tokens_read": per_pass(lambda rollout: rollout.tokens_read),
        "steps": episode.steps,
        "refused": per_pass(lambda r: sum(done.refused is not None for step in r.steps for done in step.operations)),
        "malformed": per_pass(lambda r: sum(len(step.malformed) for step in r.steps)),
        "operations": {kind: fmean(counter[kind] for counter in kinds) for kind in OPERATIONS},
        "questions": tuple(
            QuestionResult(
                manager=manager,
                source=episode.source,
                task=episode.task,
                stream=episode.id,
                question=question.id,
                metric=question.metric,
                score=_mean([told[question.id].score if question.id in told else None for told in answers]),
                published=_mean([_published(question, told.get(question.id)) for told in answers]),
            )
            for question in episode.questions
        ),
    }


def _published(question: Question, answer: Answer | None) -> float | None:
    """An answer without a score has no published one either; a metric without a published face has its own."""
    if answer is None or answer.score is None or question.metric not in PUBLISHED:
        return None if answer is None else answer.score
    return published_score(answer.prediction, question)


def _read(episode: Episode, rollouts: Sequence[Rollout], count_tokens: CountTokens) -> Spent:
    asked = {question.id: count_tokens(question.text) for question in episode.questions}
    answers = [answer for rollout in rollouts for answer in rollout.answers]
    shown = sum(asked[a.question_id] + sum(count_tokens(item.text) for item in a.evidence) for a in answers)
    said = sum(count_tokens(answer.prediction) for answer in answers)
    return Spent(len(answers) / len(rollouts), shown / len(rollouts), said / len(rollouts))


def _merged(rebuilds: Sequence[StreamResult]) -> StreamResult:
    first = rebuilds[0]

    def mean(count: Callable[[StreamResult], float]) -> float:
        return fmean(map(count, rebuilds))

    def spent(cost: Callable[[StreamResult], Spent]) -> Spent:
        costs = [cost(each) for each in rebuilds]
        return Spent(*(fmean(getattr(c, name) for c in costs) for name in Spent.__dataclass_fields__))

    asked: dict[str, list[QuestionResult]] = {}
    for each in rebuilds:
        for question in each.questions:
            asked.setdefault(question.question, []).append(question)
    return StreamResult(
        manager=first.manager,
        source=first.source,
        task=first.task,
        stream=first.stream,
        memory_tokens=mean(lambda r: r.memory_tokens),
        tokens_read=mean(lambda r: r.tokens_read),
        steps=first.steps,
        refused=mean(lambda r: r.refused),
        malformed=mean(lambda r: r.malformed),
        operations={kind: mean(lambda r, kind=kind: r.operations.get(kind, 0.0)) for kind in OPERATIONS},  # type: ignore[misc]
        questions=tuple(
            QuestionResult(
                *(q[0].manager, q[0].source, q[0].task, q[0].stream, q[0].question, q[0].metric),
                score=_mean([each.score for each in q]),
                published=_mean([each.published for each in q]),
            )
            for q in asked.values()
        ),
        benchmark=first.benchmark,
        write=spent(lambda r: r.write),
        read=spent(lambda r: r.read),
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
