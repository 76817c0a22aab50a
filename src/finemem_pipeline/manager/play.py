"""Playing streams: all rollouts of all episodes stand at the same chunk, and each wave is one batch.

The only place where manager, memory and reader meet. It returns records; nothing here knows about rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from finemem_pipeline.clock import Clock
from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.manager import Manager, Observation, Turn
from finemem_pipeline.memory import Applied, CountTokens, Delete, MemoryBank, Update, parse_operations
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.rollouts import Answer, Rollout, RolloutGroup, StepRecord


@dataclass
class _Seat:
    """One rollout while it is being played."""

    episode: Episode
    sibling: int
    bank: MemoryBank = field(default_factory=MemoryBank)
    tokens: int = 0  # of the bank
    steps: list[StepRecord] = field(default_factory=list)


def all_questions(episode: Episode) -> tuple[Question, ...]:
    """Every final question of the episode."""
    return episode.questions


def play(
    episodes: Sequence[Episode],
    manager: Manager,
    reader: Reader,
    count_tokens: CountTokens,
    *,
    siblings: int = 1,
    questions: Callable[[Episode], tuple[Question, ...]] = all_questions,
    ask_chunks: bool = True,
    clock: Clock | None = None,
    on_wave: Callable[[int, int], None] | None = None,
) -> list[RolloutGroup]:
    """One group of `siblings` rollouts per episode, in the order given.

    `questions` draws the final questions of an episode; it is called once per episode, so siblings share them.
    `ask_chunks` asks each chunk's own questions right after its step. `on_wave(step, steps)` reports progress.
    Raises what the manager and the reader raise.
    """
    clock = clock or Clock()
    seats = [_Seat(episode, sibling) for episode in episodes for sibling in range(siblings)]
    longest = max((episode.steps for episode in episodes), default=0)
    for t in range(longest):
        wave = [seat for seat in seats if t < seat.episode.steps]
        with clock("generate"):
            turns = manager.act([Observation(seat.episode, seat.episode.chunks[t], seat.bank) for seat in wave])
        with clock("apply"):
            for seat, turn in zip(wave, turns, strict=True):
                seat.steps.append(_take_step(seat, t, turn, count_tokens))
        if ask_chunks:
            with clock("read"):
                asked = [seat.episode.chunks[t].questions for seat in wave]
                answers = _ask(reader, asked, [seat.bank for seat in wave])
                for seat, told in zip(wave, answers, strict=True):
                    seat.steps[-1] = replace(seat.steps[-1], answers=told)
        if on_wave is not None:
            on_wave(t + 1, longest)
    with clock("read"):
        drawn = {id(episode): questions(episode) for episode in episodes}
        finals = _ask(reader, [drawn[id(seat.episode)] for seat in seats], [seat.bank for seat in seats])
    rollouts = [
        Rollout(
            episode_id=seat.episode.id,
            sibling=seat.sibling,
            steps=tuple(seat.steps),
            answers=answers,
            tokens_read=sum(step.chunk_tokens for step in seat.steps),
        )
        for seat, answers in zip(seats, finals, strict=True)
    ]
    return [
        RolloutGroup(episode.id, tuple(rollouts[first : first + siblings]))
        for episode, first in zip(episodes, range(0, len(rollouts), siblings), strict=True)
    ]


def _take_step(seat: _Seat, t: int, turn: Turn, count_tokens: CountTokens) -> StepRecord:
    parsed = parse_operations(turn.completion.text)
    before = seat.bank
    hidden = set() if turn.shown is None else {item.id for item in before.items} - turn.shown
    refused = [isinstance(each, Update | Delete) and each.id in hidden for each in parsed.operations]
    allowed = [each for each, no in zip(parsed.operations, refused, strict=True) if not no]
    bank, outcomes = before.apply_all(allowed, t)
    left = iter(outcomes)
    applied = tuple(
        Applied(each, refused=f"{each.id} was not shown") if isinstance(each, Update | Delete) and no else next(left)
        for each, no in zip(parsed.operations, refused, strict=True)
    )
    seat.bank, seat.tokens = bank, before.tokens_after(applied, seat.tokens, count_tokens)
    return StepRecord(
        step=t,
        completion=turn.completion,
        operations=applied,
        malformed=parsed.malformed,
        bank=bank,
        bank_tokens=seat.tokens,
        chunk_tokens=count_tokens(seat.episode.chunks[t].text),
    )


def _ask(
    reader: Reader, asked: Sequence[tuple[Question, ...]], banks: Sequence[MemoryBank]
) -> list[tuple[Answer, ...]]:
    """The answers of each seat, all of them asked in one batch."""
    flat = [(question, bank) for questions, bank in zip(asked, banks, strict=True) for question in questions]
    answers = iter(reader.answer(flat))
    return [tuple(next(answers) for _ in questions) for questions in asked]
