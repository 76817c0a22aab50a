"""A retriever on the clock."""

from __future__ import annotations

from collections.abc import Sequence

from finemem_pipeline.clock import Clock
from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.retrieval.retriever import Retriever


class TimedRetriever(Retriever):
    """Counts the seconds of another retriever as the phase `retrieve`."""

    def __init__(self, retriever: Retriever, clock: Clock) -> None:
        self.retriever = retriever
        self.clock = clock

    def search(
        self, queries: Sequence[str], items: Sequence[MemoryItem], k: int
    ) -> list[list[tuple[MemoryItem, float]]]:
        with self.clock("retrieve"):
            return self.retriever.search(queries, items, k)

    def search_each(
        self, asked: Sequence[tuple[Sequence[str], Sequence[MemoryItem]]], k: int
    ) -> list[list[list[tuple[MemoryItem, float]]]]:
        with self.clock("retrieve"):
            return self.retriever.search_each(asked, k)
