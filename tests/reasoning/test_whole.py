from __future__ import annotations

from finemem_pipeline.reasoning import Asked, Reply
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.whole import WholeText


class Listening:
    """Cites the first text of every question; keeps what it was asked."""

    identity = "listening"

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def answer(self, asked):
        self.asked += asked
        return [Reply("yes", cited=(0,) if one.texts else (), failure=None) for one in asked]


def test_all_texts_come_as_one_in_their_order_and_none_is_cited():
    inner = Listening()
    replies = WholeText(inner).answer([Asked("q", ("a", "b")), Asked("r", ())])
    assert inner.asked == [Asked("q", ("a\nb",)), Asked("r", ())]
    assert replies == [Reply("yes"), Reply("yes")]


def test_a_cache_tells_it_from_the_reasoner_inside():
    assert WholeText(Listening()).identity == "whole text: listening"


def test_the_new_end_of_a_long_memory_is_read_like_its_old_end():
    texts = (*(f"It rained on day {n} of the month." for n in range(60)), "Ann's locker code is 4711.")
    [reply] = WholeText(ExtractiveReasoner()).answer([Asked("What is Ann's locker code?", texts)])
    assert "4711" in reply.text
