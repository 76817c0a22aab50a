"""Two retrievers as one."""

from __future__ import annotations

from collections.abc import Sequence

from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.retrieval.bm25 import rank
from finemem_pipeline.retrieval.retriever import Retriever


class Hybrid(Retriever):
    """Reciprocal rank fusion (Cormack et al., 2009): score(m) = Σ_r 1 / (constant + place of m with retriever r).

    Places count from 1 within the `depth` best of each retriever (k, if that is more); an item that a retriever left
    out gets nothing from it. Equal scores go to the newest item.
    """

    def __init__(self, *retrievers: Retriever, constant: float = 60.0, depth: int = 50) -> None:
        if not retrievers or constant < 0 or depth < 1:
            raise ValueError(
                "Hybrid needs a retriever, constant >= 0 and depth >= 1, found "
                f"{len(retrievers)} retrievers, {constant=}, {depth=}"
            )
        self.retrievers = retrievers
        self.constant = constant
        self.depth = depth

    def search(
        self, queries: Sequence[str], items: Sequence[MemoryItem], k: int
    ) -> list[list[tuple[MemoryItem, float]]]:
        """For each query at most k (item, score) pairs, best first. Raises what the retrievers raise."""
        [found] = self.search_each([(queries, items)], k)
        return found

    def search_each(
        self, asked: Sequence[tuple[Sequence[str], Sequence[MemoryItem]]], k: int
    ) -> list[list[list[tuple[MemoryItem, float]]]]:
        """What `search` finds for each (queries, items), each retriever asked once."""
        if k < 1:
            return [[[] for _ in queries] for queries, _ in asked]
        ranked = [retriever.search_each(asked, max(k, self.depth)) for retriever in self.retrievers]
        return [[self._fused(found)[:k] for found in zip(*of_one, strict=True)] for of_one in zip(*ranked, strict=True)]

    def _fused(self, found: Sequence[list[tuple[MemoryItem, float]]]) -> list[tuple[MemoryItem, float]]:
        scores: dict[str, float] = {}
        items: dict[str, MemoryItem] = {}
        for ranked in found:
            for place, (item, _) in enumerate(ranked, 1):
                scores[item.id] = scores.get(item.id, 0.0) + 1.0 / (self.constant + place)
                items[item.id] = item
        return sorted(((item, scores[item.id]) for item in items.values()), key=rank, reverse=True)
