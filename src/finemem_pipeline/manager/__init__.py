"""Who decides what to remember, and how a stream is played.

A manager reads one chunk and the memory so far and replies once, in the wire format of `memory.parse_operations`.
Language-model policies, the scripted teacher and the baselines all stand behind the same protocol, so that one
`play` serves training and evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.memory import MemoryBank
from finemem_pipeline.rollouts import Completion


@dataclass(frozen=True, slots=True)
class Observation:
    """What stands before a manager at one step.

    A model may be shown the text and time stamp of the chunk and the bank; `episode` is there for scripted
    managers that know the answers (the teacher), never for a model.
    """

    episode: Episode
    chunk: Chunk
    bank: MemoryBank  # M_{t-1}
    seed: int | None = None  # of what a sampling manager draws for its reply; None: of nothing in particular


@dataclass(frozen=True, slots=True)
class Turn:
    """A manager's reply, and the items it had before its eyes."""

    completion: Completion
    shown: frozenset[str] | None = None  # only these ids may be updated or deleted; None: all of them


@dataclass(frozen=True, slots=True)
class Usage:
    """What the language model of a manager was asked and said: what writing a memory costs."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def since(self, earlier: Usage) -> Usage:
        """What was done after `earlier`."""
        return Usage(*(getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)))


class Manager(Protocol):
    """Replies to observations with memory operations in the wire format.

    A manager with a language model also has `usage: Usage` and, by the ids of the streams, `usage_by_stream`.
    """

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        """One turn per observation, in order. Raises GeneratorError if a model behind it fails."""
        ...


def usage_by_stream(manager: Manager) -> Mapping[str, Usage]:
    """What each stream has cost so far, by its id; empty for a manager without a language model."""
    found: Mapping[str, Usage] = getattr(manager, "usage_by_stream", {})
    return found
