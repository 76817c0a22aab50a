"""Answers that might have been: asked after a rollout was played, so that credit and rewards can read them.

Each probe asks exactly what its reader of records needs, for all rollouts in one batch and through the reader's cache:
siblings share most of these questions, and so do probes. What is found goes into `Rollout.probes` (final questions)
and `StepRecord.probes` (chunk questions), under the names that `credit.NEEDS` and `rewards.NEEDS` give.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from finemem_pipeline.credit.leave_one_out import WITHOUT_ONE
from finemem_pipeline.credit.shapley import MOST, SUBSETS
from finemem_pipeline.credit.tombstone import TOMBSTONES
from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.errors import FinememError, unknown
from finemem_pipeline.memory import MemoryBank
from finemem_pipeline.reasoning.reader import Reader, Retrieved
from finemem_pipeline.replay import deletions
from finemem_pipeline.rewards.chunk import BEFORE, NO_MEMORY, OLDER
from finemem_pipeline.rollouts import Answer, Rollout, RolloutGroup

Part = tuple[Question, Retrieved]
"""A question, and the items to answer it from with the retriever's scores."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Which older questions `retention` asks: `size` of them at every step, the same for all siblings."""

    size: int = 5
    seed: int = 0


def probe(
    groups: Sequence[RolloutGroup],
    episodes: Sequence[Episode],
    reader: Reader,
    names: Sequence[str],
    sample: Sample | None = None,
) -> list[RolloutGroup]:
    """The groups with the answers of the named probes in their records; groups and episodes stand side by side.

    Raises FinememError for a name that is no probe, and what the reader raises.
    """
    strangers = [name for name in names if name not in PROBES]
    if strangers:
        raise FinememError(unknown("probes", strangers[0], PROBES, "probe"))
    by_id = {episode.id: episode for episode in episodes}
    for name in names:
        groups = PROBES[name](groups, by_id, reader, sample or Sample())
    return list(groups)


def _without_one(
    groups: Sequence[RolloutGroup], episodes: Mapping[str, Episode], reader: Reader, _: Sample
) -> list[RolloutGroup]:
    """R_j∖m for every m, where there is a score to share: |R_j| answers a question."""

    def parts(rollout: Rollout, questions: Mapping[str, Question]) -> Iterator[Part]:
        for answer in rollout.answers:
            for place in range(len(answer.evidence)) if answer.score else ():
                yield questions[answer.question_id], [*_found(answer)[:place], *_found(answer)[place + 1 :]]

    return _ask_finals(groups, episodes, reader, WITHOUT_ONE, parts)


def _subsets(
    groups: Sequence[RolloutGroup], episodes: Mapping[str, Episode], reader: Reader, _: Sample
) -> list[RolloutGroup]:
    """Every S ⊂ R_j, the empty one included: 2^k − 1 answers a question."""

    def parts(rollout: Rollout, questions: Mapping[str, Question]) -> Iterator[Part]:
        for answer in rollout.answers:
            if len(answer.evidence) > MOST:
                raise FinememError(
                    f"question {answer.question_id} brought back {len(answer.evidence)} items and Shapley values are "
                    f"for {MOST} at most: lower reader.k, or choose another scheme"
                )
            for size in range(len(answer.evidence)) if answer.score is not None else ():
                for some in combinations(_found(answer), size):
                    yield questions[answer.question_id], list(some)

    return _ask_finals(groups, episodes, reader, SUBSETS, parts)


def _tombstones(
    groups: Sequence[RolloutGroup], episodes: Mapping[str, Episode], reader: Reader, _: Sample
) -> list[RolloutGroup]:
    """The top-k of memory and deleted items together, where a deleted one is among them: one answer a question."""

    def parts(rollout: Rollout, questions: Mapping[str, Question]) -> Iterator[Part]:
        grave = [item for item, _ in deletions(rollout)]
        if not grave:
            return
        gone = {item.id for item in grave}
        shadow = MemoryBank((*rollout.steps[-1].bank.items, *grave))
        asked = [questions[answer.question_id] for answer in rollout.answers if answer.score is not None]
        for question, found in zip(asked, reader.retrieve([(one, shadow) for one in asked]), strict=True):
            if any(item.id in gone for item, _ in found):
                yield question, found

    return _ask_finals(groups, episodes, reader, TOMBSTONES, parts)


def _before(
    groups: Sequence[RolloutGroup], episodes: Mapping[str, Episode], reader: Reader, _: Sample
) -> list[RolloutGroup]:
    """Chunk t's questions, answered from M_{t−1}."""

    def pairs(rollout: Rollout, episode: Episode, t: int) -> list[tuple[Question, MemoryBank]]:
        bank = rollout.steps[t - 1].bank if t else MemoryBank()
        return [(question, bank) for question in episode.chunks[t].questions]

    return _ask_steps(groups, episodes, reader, BEFORE, pairs)


def _no_memory(
    groups: Sequence[RolloutGroup], episodes: Mapping[str, Episode], reader: Reader, _: Sample
) -> list[RolloutGroup]:
    """Chunk t's questions, answered from nothing: asked once, however many siblings."""
    nothing = MemoryBank()

    def pairs(_: Rollout, episode: Episode, t: int) -> list[tuple[Question, MemoryBank]]:
        return [(question, nothing) for question in episode.chunks[t].questions]

    return _ask_steps(groups, episodes, reader, NO_MEMORY, pairs)


def _older(
    groups: Sequence[RolloutGroup], episodes: Mapping[str, Episode], reader: Reader, sample: Sample
) -> list[RolloutGroup]:
    """A sample of the questions of chunks before t that no chunk up to t has made stale, answered from M_t."""
    drawn = {group.episode_id: older_questions(episodes[group.episode_id], sample) for group in groups}

    def pairs(rollout: Rollout, episode: Episode, t: int) -> list[tuple[Question, MemoryBank]]:
        return [(question, rollout.steps[t].bank) for question in drawn[episode.id][t]]

    return _ask_steps(groups, episodes, reader, OLDER, pairs)


PROBES: dict[str, Callable[[Sequence[RolloutGroup], Mapping[str, Episode], Reader, Sample], list[RolloutGroup]]] = {
    WITHOUT_ONE: _without_one,
    SUBSETS: _subsets,
    TOMBSTONES: _tombstones,
    BEFORE: _before,
    NO_MEMORY: _no_memory,
    OLDER: _older,
}


def older_questions(episode: Episode, sample: Sample) -> list[list[Question]]:
    """(T,) the older questions to ask at each step: drawn by seed, stream and step alone, so that siblings share them.

    A question whose answer a chunk up to t has replaced is not asked any more (Question.until).
    """
    found: list[list[Question]] = []
    earlier: list[Question] = []
    for chunk in episode.chunks:
        current = [question for question in earlier if question.until is None or question.until > chunk.index]
        rng = random.Random(f"retention {sample.seed} {episode.id} {chunk.index}")
        found.append(rng.sample(current, min(sample.size, len(current))))
        earlier += chunk.questions
    return found


def _found(answer: Answer) -> Retrieved:
    return list(zip(answer.evidence, answer.evidence_scores, strict=True))


def _ask_finals(
    groups: Sequence[RolloutGroup],
    episodes: Mapping[str, Episode],
    reader: Reader,
    name: str,
    parts: Callable[[Rollout, Mapping[str, Question]], Iterator[Part]],
) -> list[RolloutGroup]:
    questions = {group.episode_id: {q.id: q for q in episodes[group.episode_id].questions} for group in groups}
    asked = [[list(parts(rollout, questions[group.episode_id])) for rollout in group.rollouts] for group in groups]
    answers = iter(reader.read([part for group in asked for rollout in group for part in rollout]))
    return [
        replace(
            group,
            rollouts=tuple(
                replace(rollout, probes={**rollout.probes, name: tuple(next(answers) for _ in wanted)})
                for rollout, wanted in zip(group.rollouts, asks, strict=True)
            ),
        )
        for group, asks in zip(groups, asked, strict=True)
    ]


def _ask_steps(
    groups: Sequence[RolloutGroup],
    episodes: Mapping[str, Episode],
    reader: Reader,
    name: str,
    pairs: Callable[[Rollout, Episode, int], list[tuple[Question, MemoryBank]]],
) -> list[RolloutGroup]:
    asked = [
        [
            [pairs(rollout, episodes[group.episode_id], t) for t in range(len(rollout.steps))]
            for rollout in group.rollouts
        ]
        for group in groups
    ]
    answers = iter(reader.answer([pair for group in asked for rollout in group for step in rollout for pair in step]))
    return [
        replace(
            group,
            rollouts=tuple(
                replace(
                    rollout,
                    steps=tuple(
                        replace(step, probes={**step.probes, name: tuple(next(answers) for _ in wanted)})
                        for step, wanted in zip(rollout.steps, by_step, strict=True)
                    ),
                )
                for rollout, by_step in zip(group.rollouts, asks, strict=True)
            ),
        )
        for group, asks in zip(groups, asked, strict=True)
    ]
