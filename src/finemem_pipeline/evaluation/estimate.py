"""What an evaluation will cost, before anything is played.

Counted are the steps, chunks and questions of the streams; assumed is how long replies are and how fast and dear a
model is (`Rates`), and what a manager does with a chunk (`HABITS`). Caches and batches played before are not looked at,
so a run that goes on costs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from finemem_pipeline.episodes import Episode
from finemem_pipeline.memory import CountTokens

ITEM = 30
"""Tokens of a memory item that somebody wrote: a sentence."""


@dataclass(frozen=True, slots=True)
class Habit:
    """What a manager does, as far as it costs something."""

    calls: float = 1.0  # of a language model, for each chunk
    brings: str = "sentences"  # what a question brings back: k sentences, k chunks, nothing, or all


HABITS: dict[str, Habit] = {
    "no_memory": Habit(calls=0, brings="nothing"),
    "raw_chunks": Habit(calls=0, brings="chunks"),
    "sentences": Habit(calls=0),
    "latest_wins": Habit(calls=0),
    "long_context": Habit(calls=0, brings="all"),
    "fact_list_style": Habit(calls=9),  # at most: one for the facts of a chunk, one for each of eight
    "linked_notes_style": Habit(calls=9),
}
"""Managers that are not here call a model once for each chunk and keep sentences."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What calls to one model cost."""

    instructions: int  # tokens of a prompt beside what is read
    reply: int  # tokens
    read_per_second: float  # tokens
    write_per_second: float
    price_in: float | None = None  # of a million tokens
    price_out: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Calls to one model."""

    calls: float
    tokens_in: float
    tokens_out: float

    def hours(self, rates: Rates) -> float:
        return (self.tokens_in / rates.read_per_second + self.tokens_out / rates.write_per_second) / 3600

    def money(self, rates: Rates) -> float | None:
        """None: a price is not known, and there is something to pay."""
        if not self.calls:
            return 0.0
        if rates.price_in is None or rates.price_out is None:
            return None
        return (self.tokens_in * rates.price_in + self.tokens_out * rates.price_out) / 1e6


def estimate(
    streams: Mapping[str, Sequence[Episode]],
    passes: Mapping[str, int],
    *,
    manager: Rates,
    reader: Rates,
    memory_tokens: int,
    k: int,
    window: int,
    count_tokens: CountTokens,
) -> dict[str, Any]:
    """The cost of playing the streams of every benchmark, `passes` times by each manager, as a JSON document.

    `memory_tokens` is the most of a memory that a manager is shown, `k` what a question brings back, `window` the
    tokens that a manager of a long context keeps. Keys: `streams`, `steps`, `tokens`, `questions` of one pass;
    `managers`, one entry each; `total`: `manager_calls`, `reader_calls`, `tokens_in`, `tokens_out`, `hours`, and
    `money`, None where a price is not known.
    """
    episodes = [episode for each in streams.values() for episode in each]
    lengths = [[count_tokens(chunk.text) for chunk in episode.chunks] for episode in episodes]
    asked = [[count_tokens(question.text) for question in episode.questions] for episode in episodes]
    entries: list[dict[str, Any]] = []
    for name, times in passes.items():
        habit = HABITS.get(name, Habit())
        written = _times(times, _writing(habit, lengths, manager, memory_tokens))
        read = _times(times, _reading(habit, lengths, asked, reader, k, window))
        money = (written.money(manager), read.money(reader))
        entries.append(
            {
                "manager": name,
                "passes": times,
                "write": asdict(written),
                "read": asdict(read),
                "hours": written.hours(manager) + read.hours(reader),
                "money": None if None in money else sum(part for part in money if part is not None),
            }
        )
    prices = [entry["money"] for entry in entries]
    return {
        "streams": len(episodes),
        "steps": sum(map(len, lengths)),
        "tokens": sum(map(sum, lengths)),
        "questions": sum(map(len, asked)),
        "managers": entries,
        "total": {
            "manager_calls": sum(entry["write"]["calls"] for entry in entries),
            "reader_calls": sum(entry["read"]["calls"] for entry in entries),
            "tokens_in": sum(entry[part]["tokens_in"] for entry in entries for part in ("write", "read")),
            "tokens_out": sum(entry[part]["tokens_out"] for entry in entries for part in ("write", "read")),
            "hours": sum(entry["hours"] for entry in entries),
            "money": None if None in prices else sum(prices),
        },
    }


def _writing(habit: Habit, lengths: Sequence[Sequence[int]], rates: Rates, memory_tokens: int) -> Work:
    """A prompt holds the instructions, the chunk, and the memory as far as it has grown and is shown."""
    calls = read = 0.0
    for chunks in lengths:
        for step, tokens in enumerate(chunks):
            calls += habit.calls
            read += habit.calls * (rates.instructions + tokens + min(memory_tokens, step * rates.reply))
    return Work(calls, read, calls * rates.reply)


def _reading(
    habit: Habit, lengths: Sequence[Sequence[int]], asked: Sequence[Sequence[int]], rates: Rates, k: int, window: int
) -> Work:
    calls, read = 0, 0.0
    for chunks, questions in zip(lengths, asked, strict=True):
        text = sum(chunks)
        shown = {
            "nothing": 0.0,
            "sentences": k * ITEM,
            "chunks": k * text / max(1, len(chunks)),
            "all": min(window, text),
        }[habit.brings]
        calls += len(questions)
        read += sum(rates.instructions + tokens + shown for tokens in questions)
    return Work(calls, read, calls * rates.reply)


def _times(times: int, work: Work) -> Work:
    return Work(times * work.calls, times * work.tokens_in, times * work.tokens_out)
