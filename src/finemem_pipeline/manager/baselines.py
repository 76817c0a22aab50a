"""Managers that need no model: the rows every table of managers must have."""

from __future__ import annotations

from collections.abc import Sequence

from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.sentences import sentences
from finemem_pipeline.memory import Insert, Operation, Skip, format_operations
from finemem_pipeline.rollouts import Completion


class NoMemory:
    """Never writes: the closed-book control."""

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        return [_written(Skip()) for _ in observations]


class RawChunks:
    """Keeps every chunk as one item: plain retrieval over the raw stream, no writing at all."""

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        return [_written(Insert(each.chunk.text)) for each in observations]


class SentenceCopier:
    """Keeps every sentence as an item of its own: everything remembered, nothing selected."""

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        return [_written(*map(Insert, sentences(each.chunk.text))) for each in observations]


def _written(*operations: Operation) -> Turn:
    return Turn(Completion(format_operations(operations or [Skip()])))
