from __future__ import annotations

import pytest

from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.retrieval import BM25, Retriever
from finemem_pipeline.retrieval.hybrid import Hybrid

A, B, C, D = (MemoryItem(f"m{n}", text, (n,)) for n, text in enumerate("abcd"))


class Ranked(Retriever):
    """Gives a fixed ranking; keeps the k it was asked for."""

    def __init__(self, *items: MemoryItem) -> None:
        self.items = items
        self.asked: list[int] = []

    def search(self, queries, items, k):
        self.asked.append(k)
        return [[(item, 9.0 - place) for place, item in enumerate(self.items)][:k] for _ in queries]


def test_places_count_and_scores_do_not():
    [found] = Hybrid(Ranked(A, B, C), Ranked(C, A)).search(["q"], [A, B, C, D], 3)
    assert [item.id for item, _ in found] == ["m0", "m2", "m1"]
    assert [score for _, score in found] == pytest.approx([1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62])


def test_equal_scores_go_to_the_newest_item():
    [found] = Hybrid(Ranked(A, B), Ranked(B, A)).search(["q"], [A, B], 2)
    assert [item.id for item, _ in found] == ["m1", "m0"]


def test_each_retriever_is_asked_deeper_than_k():
    first = Ranked(A, B)
    assert Hybrid(first, depth=7).search(["q", "r"], [A, B], 1) == [[(A, 1 / 61)]] * 2
    Hybrid(first, depth=7).search(["q"], [A, B], 9)
    assert first.asked == [7, 9]


def test_what_nobody_finds_is_not_retrieved():
    assert Hybrid(BM25(), BM25()).search(["snow", "a"], [A, B], 2)[0] == []
    assert Hybrid(BM25()).search(["a"], [], 2) == [[]]
    assert Hybrid(BM25()).search(["a"], [A], 0) == [[]]


@pytest.mark.parametrize(("retrievers", "bad"), [((), {}), ((BM25(),), {"constant": -1.0}), ((BM25(),), {"depth": 0})])
def test_parameters_out_of_range_are_refused(retrievers, bad):
    with pytest.raises(ValueError, match="Hybrid needs"):
        Hybrid(*retrievers, **bad)


def test_many_memories_are_searched_as_each_by_itself():
    hybrid = Hybrid(BM25(), BM25(k1=0.1), depth=2)
    asked = [(["a", "b"], [A, B, C]), (["a"], [A]), (["d"], [])]
    assert hybrid.search_each(asked, 2) == [hybrid.search(queries, items, 2) for queries, items in asked]
    assert hybrid.search_each(asked, 0) == [[[], []], [[]], [[]]]
