"""What every retriever can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from finemem_pipeline.memory import MemoryItem


class Retriever(Protocol):
    """Finds the items of a memory that fit a query."""

    def search(
        self, queries: Sequence[str], items: Sequence[MemoryItem], k: int
    ) -> list[list[tuple[MemoryItem, float]]]:
        """For each query at most k (item, score) pairs, best first; items that do not fit at all are left out."""
        ...

    def search_each(
        self, asked: Sequence[tuple[Sequence[str], Sequence[MemoryItem]]], k: int
    ) -> list[list[list[tuple[MemoryItem, float]]]]:
        """What `search` finds for each (queries, items), in order. One by one, if the retriever knows no better."""
        return [self.search(queries, items, k) for queries, items in asked]
