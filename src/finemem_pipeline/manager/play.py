"""Playing streams: all rollouts of all episodes stand at the same chunk, and each wave is one batch.

The only place where manager, memory and reader meet. It returns records; nothing here knows about rewards. While the
manager is at a chunk, the questions about those before are being answered: what is read changes nothing that is
written. However they fall into batches, the same questions are answered, and the same number of them is paid for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from finemem_pipeline.clock import Clock
from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.manager import Manager, Observation, Turn
from finemem_pipeline.memory import Applied, CountTokens, Delete, MemoryBank, Update, parse_operations
from finemem_pipeline.reasoning.reader import Reader, Retrieved
from finemem_pipeline.rollouts import Answer, Rollout, RolloutGroup, StepRecord

ReplySeed = Callable[[int, int, int], int]
"""What a reply is drawn by: (place of the episode, sibling, step) -> seed."""


@dataclass
class _Seat:
    """One rollout while it is being played."""

    episode: Episode
    place: int  # of the episode among those that are played
    sibling: int
    bank: MemoryBank = field(default_factory=MemoryBank)
    tokens: int = 0  # of the bank
    steps: list[StepRecord] = field(default_factory=list)

    def observation(self, t: int, seed: ReplySeed | None) -> Observation:
        drawn_by = None if seed is None else seed(self.place, self.sibling, t)
        return Observation(self.episode, self.episode.chunks[t], self.bank, drawn_by)


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
    seed: ReplySeed | None = None,
) -> list[RolloutGroup]:
    """One group of `siblings` rollouts per episode, in the order given.

    `questions` draws the final questions of an episode; it is called once per episode, so siblings share them.
    `ask_chunks` asks each chunk's own questions right after its step. `on_wave(step, steps)` reports progress.
    By `seed` a manager that samples draws its replies: what is played then does not hang on what is played beside it.
    Raises what the manager and the reader raise.
    """
    clock = clock or Clock()
    seats = [_Seat(episode, place, sibling) for place, episode in enumerate(episodes) for sibling in range(siblings)]
    longest = max((episode.steps for episode in episodes), default=0)
    with _reading_aside(reader) as aside:
        for t in range(longest):
            wave = [seat for seat in seats if t < seat.episode.steps]
            with clock("generate"):
                turns = manager.act([seat.observation(t, seed) for seat in wave])
            with clock("apply"):
                for seat, turn in zip(wave, turns, strict=True):
                    seat.steps.append(_take_step(seat, t, turn, count_tokens))
            if ask_chunks:
                with clock("read"):
                    aside.ask([seat.episode.chunks[t].questions for seat in wave], [seat.bank for seat in wave])
            if on_wave is not None:
                on_wave(t + 1, longest)
        with clock("read"):
            for t, answers in enumerate(aside.answers()):
                wave = [seat for seat in seats if t < seat.episode.steps]
                for seat, told in zip(wave, answers, strict=True):
                    seat.steps[t] = replace(seat.steps[t], answers=told)
            drawn = {id(episode): questions(episode) for episode in episodes}
            aside.ask([drawn[id(seat.episode)] for seat in seats], [seat.bank for seat in seats])
            [finals] = aside.answers()
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


class _Aside:
    """A reader at work beside the manager: it finds the items at once, and answers in another thread.

    What has been asked while it was busy it reads in one go, so that an endpoint is never short of questions.
    """

    def __init__(self, reader: Reader, pool: ThreadPoolExecutor) -> None:
        self._reader = reader
        self._pool = pool
        self._waiting: deque[_Batch] = deque()
        self._asked: list[_Batch] = []
        self._work: list[Future[None]] = []

    def ask(self, asked: Sequence[tuple[Question, ...]], banks: Sequence[MemoryBank]) -> None:
        """The questions of each seat, in one batch. Raises what reading has raised meanwhile."""
        for work in self._work:
            if work.done():
                work.result()
        flat = [(question, bank) for questions, bank in zip(asked, banks, strict=True) for question in questions]
        found = self._reader.retrieve(flat)
        parts = [(question, items) for (question, _), items in zip(flat, found, strict=True)]
        batch = _Batch([len(questions) for questions in asked], parts)
        self._asked.append(batch)
        self._waiting.append(batch)
        self._work.append(self._pool.submit(self._read))

    def answers(self) -> list[list[tuple[Answer, ...]]]:
        """Those to every batch since the last call, by seat. Waits for them; raises what the reader raises."""
        for work in self._work:
            work.result()
        batches, self._asked, self._work = self._asked, [], []
        return [batch.by_seat() for batch in batches]

    def _read(self) -> None:
        batches = [self._waiting.popleft() for _ in range(len(self._waiting))]
        answers = iter(self._reader.read([part for batch in batches for part in batch.parts]) if batches else ())
        for batch in batches:
            batch.answers = [next(answers) for _ in batch.parts]


@dataclass
class _Batch:
    """Questions with what was found for them; as many for each seat as `counts` says."""

    counts: list[int]
    parts: list[tuple[Question, Retrieved]]
    answers: list[Answer] = field(default_factory=list)

    def by_seat(self) -> list[tuple[Answer, ...]]:
        told = iter(self.answers)
        return [tuple(next(told) for _ in range(count)) for count in self.counts]


@contextmanager
def _reading_aside(reader: Reader) -> Iterator[_Aside]:
    """Nothing that fails waits for the batches that have not begun."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
    try:
        yield _Aside(reader, pool)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
