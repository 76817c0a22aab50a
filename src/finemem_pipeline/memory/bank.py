"""The memory itself: a flat, immutable list of items.

Every change returns a new bank, so keeping the bank of every step, or replaying a stream with one step
left out, costs nothing but references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
            return self._with([operation.text], step), Applied(operation, self._next_id(0))
        place = next((i for i, item in enumerate(self.items) if item.id == operation.id), None)
        if place is None:
            return self, Applied(operation, refused=f"{NO_ITEM} {operation.id}")
        before, old, after = self.items[:place], self.items[place], self.items[place + 1 :]
        if isinstance(operation, Update):
            before = (*before, replace(old, text=operation.text, writes=(*old.writes, step)))
        return MemoryBank((*before, *after), self.born), Applied(operation, operation.id)

    def apply_all(self, operations: Iterable[Operation], step: int) -> tuple[MemoryBank, tuple[Applied, ...]]:
        """The bank after all operations, one after the other, and what became of each.

        INSERTs that follow each other go in together: one by one, each would copy the memory.
        """
        bank, fresh = self, list[str]()
        applied: list[Applied] = []
        for operation in operations:
            if isinstance(operation, Insert) and operation.text.strip():
                applied.append(Applied(operation, bank._next_id(len(fresh))))
                fresh.append(operation.text)
                continue
            bank, outcome = bank._with(fresh, step).apply(operation, step)
            fresh = []
            applied.append(outcome)
        return bank._with(fresh, step), tuple(applied)

    def _with(self, texts: Sequence[str], step: int) -> MemoryBank:
        if not texts:
            return self
        items = (MemoryItem(self._next_id(place), text, (step,)) for place, text in enumerate(texts))
        return MemoryBank((*self.items, *items), self.born + len(texts))

    def _next_id(self, place: int) -> str:
        return f"m{self.born + place + 1}"

    def tokens_after(self, applied: Iterable[Applied], tokens: int, count_tokens: CountTokens) -> int:
        """L(M) after these operations, of a memory whose own L(M) is `tokens`: only what changed is counted."""
        texts: dict[str, str | None] = {}
        rewritten = set()
        for done in applied:
            if done.refused is None and done.item_id is not None:
                texts[done.item_id] = done.operation.text if isinstance(done.operation, Insert | Update) else None
                if not isinstance(done.operation, Insert):
                    rewritten.add(done.item_id)
        old = [item.text for item in self.items if item.id in rewritten] if rewritten else []
        new = [text for text in texts.values() if text is not None]
        return tokens + sum(map(count_tokens, new)) - sum(map(count_tokens, old))

    def get(self, item_id: str) -> MemoryItem | None:
        """The item with that id, or None."""
        return next((item for item in self.items if item.id == item_id), None)

    def tokens(self, count_tokens: CountTokens) -> int:
        """L(M): tokens of the items' texts, without ids or markup."""
        return sum(count_tokens(item.text) for item in self.items)

    def __len__(self) -> int:
        return len(self.items)
