"""What a writer hands over, before anything is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Draft:
    """A question and its short answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Drafts:
    """What was written about one text."""

    found: tuple[Draft, ...]
    malformed: int = 0  # parts of the reply that were no question with an answer


class Writer(Protocol):
    """Writes questions about texts."""

    @property
    def identity(self) -> str:
        """Everything but text and number that the drafts depend on: what a cache may be keyed by."""
        ...

    def write(self, texts: Sequence[str], count: int) -> list[Drafts]:
        """At most about `count` drafts per text, in order. Raises a FinememError if the backend fails."""
        ...
