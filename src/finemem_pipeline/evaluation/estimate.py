"""What an evaluation will cost, before anything is played.

Counted are the steps, chunks and questions of the streams; assumed is how long replies are and how fast and dear a
model is (`Rates`), and what a manager does with a chunk (`HABITS`). Caches and batches played before are not looked at,
so a run that goes on costs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from finemem_pipeline.episodes import Episode
from finemem_pipeline.memory import CountTokens

ITEM = 30
"""Tokens of a memory item that somebody wrote: a sentence."""

MOST_ASIDES, NEIGHBOURS = 8, 5
"""Items of one chunk that are looked at by themselves, at most, and what each is shown with."""


@dataclass(frozen=True, slots=True)
class Habit:
    """What a manager does, as far as it costs something."""

    calls: int = 1  # of a language model, with the chunk before it
    asides: int = 0  # further calls for each chunk, about one item and its neighbours
    read: Literal["nothing", "items", "chunks", "memory", "window"] = "items"  # what a question is answered from


HABITS: dict[str, Habit] = {
    "no_memory": Habit(calls=0, read="nothing"),
    "raw_chunks": Habit(calls=0, read="chunks"),
    "sentences": Habit(calls=0),
    "latest_wins": Habit(calls=0),
    "long_context": Habit(calls=0, read="window"),
    "overwrite_style": Habit(read="memory"),
    "compact_style": Habit(read="memory"),
    "fact_list_style": Habit(asides=MOST_ASIDES),
    "linked_notes_style": Habit(asides=MOST_ASIDES),
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
    window: int,
    k: int,
    count_tokens: CountTokens,
) -> dict[str, Any]:
    """The cost of playing the streams of every benchmark, `passes` times by each manager, as a JSON document.

    `memory_tokens` is the most of a memory that a manager is shown, `window` the tokens of a long context, `k` what a
    question brings back. Keys: `streams`, `steps`, `tokens`, `questions` of one pass; `managers`, one entry each;
    `total`: `manager_calls`, `reader_calls`, `tokens_in`, `tokens_out`, `hours`, and `money`, None where a price is not
    known.
    """
    episodes = [episode for each in streams.values() for episode in each]
    lengths = [[count_tokens(chunk.text) for chunk in episode.chunks] for episode in episodes]
    asked = [[count_tokens(question.text) for question in episode.questions] for episode in episodes]
    entries: list[dict[str, Any]] = []
    for name, times in passes.items():
        habit = HABITS.get(name, Habit())
        written = _times(times, _writing(habit, lengths, manager, memory_tokens))
        read = _times(times, _reading(_shown(habit, lengths, memory_tokens, window, k), asked, reader))
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
    """A prompt holds the instructions, the chunk, and the memory as far as it has grown and is shown; or the
    instructions, an item and its neighbours.
    """
    calls, read = 0, 0.0
    for chunks in lengths:
        for step, tokens in enumerate(chunks):
            calls += habit.calls + habit.asides
            read += habit.calls * (rates.instructions + tokens + min(memory_tokens, step * rates.reply))
            read += habit.asides * (rates.instructions + (1 + NEIGHBOURS) * ITEM)
    return Work(calls, read, calls * rates.reply)


def _shown(habit: Habit, lengths: Sequence[Sequence[int]], memory_tokens: int, window: int, k: int) -> list[float]:
    """Tokens that a question is answered from, for each stream."""
    match habit.read:
        case "nothing":
            return [0.0 for _ in lengths]
        case "items":
            return [float(k * ITEM) for _ in lengths]
        case "chunks":
            return [k * sum(chunks) / max(1, len(chunks)) for chunks in lengths]
        case "memory":
            return [float(min(memory_tokens, sum(chunks))) for chunks in lengths]
        case "window":
            return [float(min(window, sum(chunks))) for chunks in lengths]


def _reading(shown: Sequence[float], asked: Sequence[Sequence[int]], rates: Rates) -> Work:
    calls = sum(map(len, asked))
    read = sum(
        rates.instructions + tokens + texts
        for texts, questions in zip(shown, asked, strict=True)
        for tokens in questions
    )
    return Work(calls, read, calls * rates.reply)


def _times(times: int, work: Work) -> Work:
    return Work(times * work.calls, times * work.tokens_in, times * work.tokens_out)
