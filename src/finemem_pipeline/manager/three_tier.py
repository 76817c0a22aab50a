"""Mem-alpha's memory of three parts: a core paragraph, what happened, what is so.

m1: core: The user is a nurse in Turin and learns Dutch.
m2: episodic: 2025-01-06: the user moved to Turin.
m3: semantic: Turin lies in Italy.
"""

from __future__ import annotations

from collections.abc import Sequence

from finemem_pipeline.generation import Generator, Sampling
from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.metered import Metered
from finemem_pipeline.manager.prompts import told, two_turns
from finemem_pipeline.manager.replies import clean, first_tokens, line, written
from finemem_pipeline.memory import (
    CountTokens,
    Delete,
    Insert,
    MemoryItem,
    Operation,
    Update,
    parse_operations,
)

PARTS = ("core", "episodic", "semantic")

_INSTRUCTIONS = (
    "You keep a memory of three parts. 'core: ' is one short paragraph: who the user is, what is read, which rules "
    "hold. 'episodic: ' items are dated events and actions. 'semantic: ' items are single facts and labelled examples. "
    "Read the text and reply with a JSON list of operations; every content begins with its part:\n"
    '[{"op": "INSERT", "content": "semantic: fact"}, {"op": "INSERT", "content": "episodic: date: event"}, '
    '{"op": "UPDATE", "id": "m1", "content": "core: the whole new paragraph"}, {"op": "DELETE", "id": "m2"}, '
    '{"op": "SKIP"}]'
)


class ThreeTierStyle(Metered):
    """A memory in the manner of Mem-alpha (arXiv:2509.25911), the part of an item told by the prefix of its text.

    There is one core paragraph of at most `core_tokens` tokens, which every INSERT or UPDATE of it rewrites whole, and
    any number of episodic and semantic items. The model sees the core and the `newest` last items of either list; no
    other item may be updated or deleted. What differs from the original: no model is trained for it; operations are
    written in the project's own wire format instead of function calls; ids are the bank's; an INSERT that names no
    part is taken as semantic; the core is retrieved like any item, where Mem-alpha shows it with every question, and
    top k is taken over both lists together, where Mem-alpha takes it from either.
    """

    def __init__(
        self,
        generator: Generator,
        sampling: Sampling,
        count_tokens: CountTokens,
        core_tokens: int = 512,
        newest: int = 5,
    ) -> None:
        super().__init__(generator, sampling, count_tokens)
        self.core_tokens = core_tokens
        self.newest = newest

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        shown = [self._shown(each.bank.items) for each in observations]
        prompts = [
            two_turns(_INSTRUCTIONS, f"{told(each.chunk)}\n\nMemory:\n{_listed(items) or '(empty)'}")
            for each, items in zip(observations, shown, strict=True)
        ]
        replies = self.ask(list(zip(observations, prompts, strict=True)))
        return [
            self._turn(each, items, reply.text) for each, items, reply in zip(observations, shown, replies, strict=True)
        ]

    def _shown(self, items: Sequence[MemoryItem]) -> list[MemoryItem]:
        """The core, and the newest of either list, in the order of the bank."""
        parts = {part: [item for item in items if split(item.text)[0] == part] for part in PARTS}
        wanted = {item.id for item in parts["core"]}
        for part in ("episodic", "semantic"):
            newest = sorted(parts[part], key=lambda item: item.writes[-1])[-self.newest :]
            wanted |= {item.id for item in newest}
        return [item for item in items if item.id in wanted]

    def _turn(self, observation: Observation, shown: Sequence[MemoryItem], reply: str) -> Turn:
        parsed = parse_operations(reply)
        parts = {item.id: split(item.text)[0] for item in observation.bank.items}
        operations: list[Operation] = []
        unread = list(parsed.malformed)
        born = observation.bank.born
        for operation in parsed.operations:
            if not isinstance(operation, Insert | Update):
                operations.append(operation)
                if isinstance(operation, Delete):
                    parts.pop(operation.id, None)
                continue
            part, content = split(operation.text)
            if isinstance(operation, Update):
                part = parts.get(operation.id, part)
            if part == "core":
                content = first_tokens(content, self.core_tokens, self.count_tokens)
            if not content.strip():
                unread.append(f"a text without content: {operation.text}")
                continue
            text = f"{part}: {content}"
            core = next((item_id for item_id, of in parts.items() if of == "core"), None)
            if isinstance(operation, Update):
                operations.append(Update(operation.id, text))
            elif part == "core" and core is not None:
                operations.append(Update(core, text))
            else:
                born += 1
                parts[f"m{born}"] = part
                operations.append(Insert(text))
        return Turn(written(operations, unread), frozenset(item.id for item in shown))


def split(text: str) -> tuple[str, str]:
    """The part and the content of an item; without a known prefix it is semantic."""
    prefix, colon, content = clean(text).partition(":")
    part = prefix.strip().lower()
    return (part, content.strip()) if colon and part in PARTS else ("semantic", clean(text).strip())


def _listed(items: Sequence[MemoryItem]) -> str:
    return "\n".join(f"{item.id}: {line(item.text)}" for item in items)
