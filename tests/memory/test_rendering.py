from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.memory import MemoryBank, MemoryItem, Rendered, render


def words(text: str) -> int:
    return len(text.split())


def bank_of(*texts: str, writes: Sequence[int] | None = None) -> MemoryBank:
    steps = writes or range(len(texts))
    items = tuple(
        MemoryItem(f"m{n + 1}", text, (step,)) for n, (text, step) in enumerate(zip(texts, steps, strict=True))
    )
    return MemoryBank(items, born=len(items))


def test_a_memory_that_fits_is_shown_whole():
    assert render(bank_of("a b", "c"), [], words, budget=5) == Rendered("m1: a b\nm2: c", ("m1", "m2"))
    assert render(MemoryBank(), [], words, budget=0) == Rendered("", ())


def test_an_item_is_one_line():
    assert render(bank_of("a\r\n\n b\u2028c  d "), [], words, budget=9).text == "m1: a b c  d"


def test_half_the_budget_goes_to_the_relevant_and_half_to_the_newest():
    bank = bank_of("a", "b", "c", "d", "e", "f", "g", "h")  # two words a line
    assert render(bank, ["m3", "m1", "m2", "m4"], words, budget=8).shown == ("m1", "m3", "m7", "m8")


def test_an_update_makes_an_item_new_again():
    bank = bank_of("a", "b", "c", writes=[9, 1, 2])
    assert render(bank, [], words, budget=2).shown == ("m1",)


def test_what_one_half_leaves_goes_to_the_other():
    bank = bank_of("a", "b", "c", "d", "e", "f")
    assert render(bank, ["m1"], words, budget=8).shown == ("m1", "m4", "m5", "m6")
    assert render(bank, ["m6", "m5", "m1", "m2"], words, budget=8).shown == ("m3", "m4", "m5", "m6")
    assert render(bank_of("a", "b", "c", "d d d d d d"), ["m1", "m2", "m3"], words, budget=6).shown == (
        "m1",
        "m2",
        "m3",
    )


def test_an_item_too_long_for_the_budget_is_passed_over():
    bank = bank_of("a", "b", "long " * 20)
    assert render(bank, ["m3", "m1"], words, budget=4).shown == ("m1", "m2")
    assert render(bank_of("long " * 20), ["m1"], words, budget=4) == Rendered("", ())


def test_a_tokenizer_that_takes_more_for_the_whole_than_for_its_lines_still_fits():
    def greedy(text: str) -> int:
        return words(text) ** 2

    bank = bank_of(*"abcdefgh")
    shown = render(bank, ["m1"], greedy, budget=20)
    assert 0 < greedy(shown.text) <= 20


def test_lines_are_counted_once():
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(len(text))
        return words(text)

    bank = bank_of(*["some words in a line"] * 500)
    render(bank, [f"m{n}" for n in range(1, 500, 3)], count, budget=300)
    whole = sum(len(item.text) + 6 for item in bank.items)
    assert sum(counted) < 4 * whole


@given(
    st.lists(st.tuples(st.text("ab \n", max_size=20), st.integers(0, 5)), max_size=12),
    st.lists(st.integers(0, 14).map("m{}".format), max_size=12),
    st.integers(0, 60),
)
def test_the_view_is_whole_lines_in_order_and_within_the_budget(
    written: list[tuple[str, int]], relevance: list[str], budget: int
):
    bank = bank_of(*[text for text, _ in written], writes=[step for _, step in written])
    view = render(bank, relevance, len, budget)
    assert len(view.text) <= budget
    assert list(view.shown) == [item.id for item in bank.items if item.id in view.shown]
    assert [line.split(":")[0] for line in view.text.splitlines()] == list(view.shown)
