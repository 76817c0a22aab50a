from __future__ import annotations

from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.retrieval import Everything

ITEMS = [MemoryItem(f"m{n}", text, (n,)) for n, text in enumerate(["rain", "sun", "rain"], 1)]


def test_all_items_come_in_their_order_whatever_is_asked():
    assert Everything().search(["snow", ""], ITEMS, 9) == [[(item, 1.0) for item in ITEMS]] * 2


def test_of_more_than_k_items_the_newest_are_given():
    [found] = Everything().search(["rain"], ITEMS, 2)
    assert [item.id for item, _ in found] == ["m2", "m3"]
    assert Everything().search(["rain"], ITEMS, 0) == [[]]
    assert Everything().search(["rain"], [], 2) == [[]]
