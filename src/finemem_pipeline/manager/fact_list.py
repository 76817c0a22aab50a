"""Memory-R1's memory: facts are taken from a chunk, and each is held against its nearest items."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finemem_pipeline.generation import Conversation
from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.metered import ByNearest
from finemem_pipeline.manager.prompts import told, two_turns
from finemem_pipeline.manager.replies import line, spoken, values, written
from finemem_pipeline.memory import Delete, Insert, MemoryItem, Operation, Update

_EXTRACT = (
    "Read the text and list the facts that may be asked later, each in one short sentence that can be understood by "
    'itself. Leave out small talk. Reply with a JSON list of texts: ["fact", "fact"]. Reply [] if there is none.'
)
_DECIDE = (
    "A new fact is held against a memory. ADD it if it is new, UPDATE an item that it completes or corrects and write "
    "the item anew, DELETE an item that it proves wrong, NOOP if the memory has it already. Reply with one JSON "
    'object: {"op": "ADD"} or {"op": "UPDATE", "id": "m1", "content": "the item anew"} or {"op": "DELETE", "id": "m1"} '
    'or {"op": "NOOP"}'
)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


class FactListStyle(ByNearest):
    """A memory in the manner of Memory-R1 (arXiv:2508.19828): a flat list of facts.

    First the model lists the facts of a chunk, at most `most` of them; then each is held against its `nearest` items
    by `retriever`, and the model says ADD, UPDATE, DELETE or NOOP. That makes one call for a chunk and one for each of
    its facts; a fact that resembles no item is added without a call. What differs from the original: no model is
    trained for it; all facts of a chunk are held against the memory before the chunk, so that they go in one batch,
    and of two that would change the same item the second is added; the memory holds one sentence per item, without the
    answering model that distils what was retrieved. A decision that cannot be read leaves the memory as it was.
    """

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        extracted = self.ask([(each, two_turns(_EXTRACT, told(each.chunk))) for each in observations])
        steps = [self._begin(each, reply.text) for each, reply in zip(observations, extracted, strict=True)]
        pending = [(step, fact, near) for step in steps for fact, near in step.facts.items() if near]
        decisions = self.ask([(step.observation, _decision(fact, near)) for step, fact, near in pending])
        replies = {(id(step), fact): reply.text for (step, fact, _), reply in zip(pending, decisions, strict=True)}
        return [
            _turn(step, {fact: reply for fact in step.facts if (reply := replies.get((id(step), fact))) is not None})
            for step in steps
        ]

    def _begin(self, observation: Observation, reply: str) -> _Step:
        facts = facts_in(reply)
        if facts is None:
            return _Step(observation, {}, (reply,))
        facts = facts[: self.most]
        return _Step(observation, dict(zip(facts, self.near(observation, facts), strict=True)))


@dataclass(frozen=True)
class _Step:
    """The facts of one chunk, each with its nearest items."""

    observation: Observation
    facts: Mapping[str, Sequence[MemoryItem]]
    unread: tuple[str, ...] = ()


def facts_in(reply: str) -> list[str] | None:
    """The different texts of the last JSON list of a reply, also of one that was cut off; None if there is none."""
    said = spoken(reply)
    lists = [found for value in values(said) for found in [_texts(value)] if found is not None]
    if lists:
        return list(dict.fromkeys(lists[-1]))
    begun = said.rpartition("[")[2] if "[" in said else ""
    return list(dict.fromkeys(filter(None, map(line, _STRING.findall(begun))))) or None


def _texts(value: Any) -> list[str] | None:
    """The texts of a list, or of the list in an object such as {"facts": [...]}."""
    if isinstance(value, dict):
        value = next((inner for inner in value.values() if isinstance(inner, list)), None)
    if not isinstance(value, list):
        return None
    told_as = (next(iter(each.values()), None) if isinstance(each, dict) else each for each in value)
    texts = [line(each) for each in told_as if isinstance(each, str)]
    found = [text for text in texts if text]
    return found if found or not value else None


def _decision(fact: str, near: Sequence[MemoryItem]) -> Conversation:
    listed = "\n".join(f"{item.id}: {line(item.text)}" for item in near)
    return two_turns(_DECIDE, f"Memory:\n{listed}\n\nNew fact: {fact}")


def _turn(step: _Step, replies: Mapping[str, str]) -> Turn:
    operations: list[Operation] = []
    unread = list(step.unread)
    changed: set[str] = set()
    for fact, near in step.facts.items():
        decided = _decided(replies[fact], fact, {item.id for item in near}) if fact in replies else [Insert(fact)]
        if decided is None:
            unread.append(replies[fact])
        for operation in decided or ():
            if isinstance(operation, Update | Delete):
                if operation.id in changed:
                    operations.append(Insert(fact))
                    continue
                changed.add(operation.id)
            operations.append(operation)
    shown = frozenset(item.id for near in step.facts.values() for item in near)
    return Turn(written(operations, unread), shown)


def _decided(reply: str, fact: str, near: set[str]) -> list[Operation] | None:
    """What the last object with an `op` asks for, nothing for NOOP; None if it cannot be read."""
    for value in reversed(list(values(spoken(reply)))):
        entry = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not isinstance(entry, dict) or not isinstance(entry.get("op"), str):
            continue
        content = entry.get("content")
        text = line(content) if isinstance(content, str) else ""
        item_id = entry.get("id")
        match entry["op"].strip().upper(), item_id if isinstance(item_id, str) and item_id in near else None:
            case "ADD", _:
                return [Insert(text or fact)]
            case "NOOP", _:
                return []
            case "UPDATE", str(item_id):
                return [Update(item_id, text or fact)]
            case "DELETE", str(item_id):
                return [Delete(item_id)]
        return None
    return None
