"""What a manager is shown of a memory that may be too long for its prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finemem_pipeline.memory.bank import CountTokens, MemoryBank, MemoryItem


@dataclass(frozen=True, slots=True)
class Rendered:
    """A view of a bank. Only the ids in it may be updated or deleted by who has seen it."""

    text: str  # one line per item, "m3: text", in the order of the bank
    shown: tuple[str, ...]  # ids in that order


def render(bank: MemoryBank, relevance: Sequence[str], count_tokens: CountTokens, budget: int) -> Rendered:
    """As many whole items as fit into `budget` tokens: all, or the most relevant and the newest, half the budget each.

    `relevance` ranks item ids, best first, and may leave items out. An item too long for what is left of a half is
    passed over. What one half leaves unused goes to the relevant items first and then to the newest. Every line is
    counted once, the text as a whole a few times, since a tokenizer may take more for the whole than for its lines.
    """
    lines = {item.id: f"{item.id}: {_one_line(item.text)}" for item in bank.items}
    everything = _view(bank, lines, lines)
    if count_tokens(everything.text) <= budget:
        return everything

    newest = [item.id for _, item in sorted(enumerate(bank.items), key=_age, reverse=True)]
    relevant = [item_id for item_id in relevance if item_id in lines]
    costs = {item_id: count_tokens(line + "\n") for item_id, line in lines.items()}
    chosen: dict[str, None] = {}  # in the order of choice

    def take(ranked: Iterable[str], room: int) -> int:
        for item_id in ranked:
            if item_id not in chosen and costs[item_id] <= room:
                chosen[item_id] = None
                room -= costs[item_id]
        return room

    half = budget // 2
    room = take(relevant, half) + take(newest, budget - half)
    take(newest, take(relevant, room))

    ranked = list(chosen)
    fewer = 1
    while ranked:
        view = _view(bank, lines, ranked)
        if count_tokens(view.text) <= budget:
            return view
        del ranked[-fewer:]
        fewer *= 2
    return Rendered("", ())


def _age(placed: tuple[int, MemoryItem]) -> tuple[int, int]:
    """The latest write first; of two in the same step, the item that stands later in the bank."""
    place, item = placed
    return item.writes[-1], place


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _view(bank: MemoryBank, lines: dict[str, str], chosen: Iterable[str]) -> Rendered:
    wanted = set(chosen)
    shown = tuple(item.id for item in bank.items if item.id in wanted)
    return Rendered("\n".join(lines[item_id] for item_id in shown), shown)
