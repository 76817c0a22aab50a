"""Text from a language model: one protocol, and the backends behind it.

The manager under training, a served checkpoint, the model inside the reasoner and the writer of chunk
questions are all Generators. `endpoint` talks to any OpenAI-compatible server, `local` runs a transformers
model in this process (imported only when it is used), `scripted` replays what a test or a demo wrote down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypedDict

from finemem_pipeline.errors import FinememError
from finemem_pipeline.rollouts import Completion


class Message(TypedDict):
    """One turn of a conversation: role is system, user or assistant."""

    role: str
    content: str


Conversation = Sequence[Message]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. Temperature 0 is greedy."""

    max_tokens: int = 256  # of the completion
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    seeds: tuple[int, ...] | None = None
    """One for each conversation: what is drawn for it then hangs on no other conversation of the call."""

    def of(self, place: int) -> Sampling:
        """That of one of the conversations."""
        return self if self.seeds is None else replace(self, seed=self.seeds[place], seeds=None)

    @property
    def told(self) -> str:
        """All of it in a line: part of what an answer is kept under."""
        return f"max_tokens={self.max_tokens} temperature={self.temperature:g} top_p={self.top_p:g} seed={self.seed}"


def after_thoughts(text: str) -> str | None:
    """What a model says behind its last `</think>`; None if it was cut off while thinking."""
    _, closed, said = text.rpartition("</think>")
    return None if not closed and "<think>" in said else said


class GeneratorError(FinememError):
    """The backend failed, and went on failing when asked again."""


class Generator(Protocol):
    """A source of completions."""

    @property
    def name(self) -> str:
        """Model and revision: what a cache may be keyed by."""
        ...

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion per conversation, in order. Raises GeneratorError if the backend stays down."""
        ...
