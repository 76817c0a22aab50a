"""No choice at all: the memory as it is."""

from __future__ import annotations

from collections.abc import Sequence

from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.retrieval.retriever import Retriever


class Everything(Retriever):
    """A Retriever that gives the items in the order of the memory, whatever is asked; at most the k newest of them."""

    def search(
        self, queries: Sequence[str], items: Sequence[MemoryItem], k: int
    ) -> list[list[tuple[MemoryItem, float]]]:
        kept = list(items)[max(0, len(items) - k) :]
        return [[(item, 1.0) for item in kept] for _ in queries]
