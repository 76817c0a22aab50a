"""Who decides what to remember, and how a stream is played.

A manager reads one chunk and the memory so far and replies once, in the wire format of `memory.parse_operations`.
Language-model policies, the scripted teacher and the baselines all stand behind the same protocol, so that one
`play` serves training and evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Turn:
    """A manager's reply, and the items it had before its eyes."""

    completion: Completion
    shown: frozenset[str] | None = None  # only these ids may be updated or deleted; None: all of them


class Manager(Protocol):
    """Replies to observations with memory operations in the wire format."""

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        """One turn per observation, in order. Raises GeneratorError if a model behind it fails."""
        ...
