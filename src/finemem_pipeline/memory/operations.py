"""The four operations of a memory manager, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Insert:
    """Add a new item."""

    text: str


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the text of an item; the item keeps its id."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an item; its id is never used again."""

    id: str


@dataclass(frozen=True, slots=True)
class Skip:
    """Leave the memory as it is."""


Operation = Insert | Update | Delete | Skip


@dataclass(frozen=True, slots=True)
class Applied:
    """An operation and its outcome. A refusal is a record, not an exception."""

    operation: Operation
    item_id: str | None = None  # the item written, changed or removed; None for Skip and for refusals
    refused: str | None = None  # why the bank did not change


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a manager's reply said."""

    operations: tuple[Operation, ...]  # in the order written
    malformed: tuple[str, ...]  # one entry per fragment that is not an operation: what was wrong with it
