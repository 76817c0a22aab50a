"""The memory itself: a flat, immutable list of items.

Every change returns a new bank, so keeping the bank of every step, or replaying a stream with one step
left out, costs nothing but references.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from finemem_pipeline.memory.operations import Applied, Insert, Operation, Skip, Update

CountTokens = Callable[[str], int]
"""Length of a text in tokens of the policy's tokenizer."""

NO_ITEM = "no item"
"""How the refusal of an operation on an item that is not there begins."""


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """One remembered text."""

    id: str  # "m1", "m2", …; unique for the life of the bank
    text: str
    writes: tuple[int, ...]  # every step that wrote it, the latest last; φ(m) = writes[-1]


@dataclass(frozen=True, slots=True)
class MemoryBank:
    """Items in the order of their ids. `MemoryBank()` is empty."""

    items: tuple[MemoryItem, ...] = ()
    born: int = 0  # ids given out so far, so that none is ever given twice

    def apply(self, operation: Operation, step: int) -> tuple[MemoryBank, Applied]:
        """The bank after `operation` at `step`, and what became of it.

        An empty text, or an id that is not in the bank, is refused: the bank stays as it is.
        """
        if isinstance(operation, Skip):
            return self, Applied(operation)
        if isinstance(operation, Insert | Update) and not operation.text.strip():
            return self, Applied(operation, refused="empty text")
        if isinstance(operation, Insert):
            item = MemoryItem(id=f"m{self.born + 1}", text=operation.text, writes=(step,))
            return MemoryBank((*self.items, item), self.born + 1), Applied(operation, item.id)
        place = next((i for i, item in enumerate(self.items) if item.id == operation.id), None)
        if place is None:
            return self, Applied(operation, refused=f"{NO_ITEM} {operation.id}")
        before, old, after = self.items[:place], self.items[place], self.items[place + 1 :]
        if isinstance(operation, Update):
            before = (*before, replace(old, text=operation.text, writes=(*old.writes, step)))
        return MemoryBank((*before, *after), self.born), Applied(operation, operation.id)

    def get(self, item_id: str) -> MemoryItem | None:
        """The item with that id, or None."""
        return next((item for item in self.items if item.id == item_id), None)

    def tokens(self, count_tokens: CountTokens) -> int:
        """L(M): tokens of the items' texts, without ids or markup."""
        return sum(count_tokens(item.text) for item in self.items)

    def __len__(self) -> int:
        return len(self.items)
