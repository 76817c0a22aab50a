from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finemem_pipeline.memory import Delete, Insert, MemoryBank, MemoryItem, Operation, Update
from finemem_pipeline.retrieval import BM25

WORDS = ["ada", "turin", "the", "the the", "Ünder_score", "7", "…"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
IDS = st.integers(1, 9).map("m{}".format)
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Insert, TEXTS), st.builds(Insert, TEXTS), st.builds(Update, IDS, TEXTS), st.builds(Delete, IDS)
)


def bank_of(*texts: str) -> MemoryBank:
    bank = MemoryBank()
    for step, text in enumerate(texts):
        bank, _ = bank.apply(Insert(text), step)
    return bank


def found(query: str, items: tuple[MemoryItem, ...], k: int = 2) -> list[str]:
    return [item.id for item, _ in BM25().search([query], items, k)[0]]


def test_the_score_is_okapis():
    items = bank_of("Ada, ada lives in Turin", "Bob lives here", "rain").items  # lengths 5, 3, 1; mean 3
    [[(item, score), (other, _)]] = BM25(k1=1.2, b=0.5).search(["ADA lives? ada!"], items, k=2)
    ada = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5)) * 2 * 2.2 / (2 + 1.2 * (0.5 + 0.5 * 5 / 3))
    lives = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5)) * 1 * 2.2 / (1 + 1.2 * (0.5 + 0.5 * 5 / 3))
    assert (item.id, other.id) == ("m1", "m2")
    assert math.isclose(score, 2 * ada + lives)


def test_the_defaults_are_the_methods():
    assert (BM25().k1, BM25().b) == (1.5, 0.75)


def test_an_item_that_shares_no_word_is_not_retrieved():
    assert found("turin", bank_of("rain", "Turin!", "turing").items, k=3) == ["m2"]
    assert found("…", bank_of("…").items) == []
    assert found("rain", ()) == []
    assert found("rain", bank_of("rain").items, k=0) == []


def test_equal_scores_go_to_the_newest_item():
    bank = bank_of("rain", "rain", "rain")
    assert found("rain", bank.items, k=3) == ["m3", "m2", "m1"]
    bank, _ = bank.apply(Update("m1", "rain"), 9)
    assert found("rain", bank.items, k=3) == ["m1", "m3", "m2"]
    same_step = tuple(MemoryItem(f"m{n}", "rain", (0,)) for n in range(8, 12))
    assert found("rain", same_step) == ["m11", "m10"]


def test_all_queries_are_answered_in_order():
    items = bank_of("rain", "sun").items
    answers = BM25().search(["sun", "snow", "rain"], items, k=2)
    assert [[item.id for item, _ in answer] for answer in answers] == [["m2"], [], ["m1"]]


def test_two_items_of_one_id_are_refused():
    with pytest.raises(ValueError, match="different ids"):
        BM25().search(["a"], [MemoryItem("m1", "a", (0,)), MemoryItem("m1", "b", (0,))], k=1)


@pytest.mark.parametrize("bad", [{"k1": -1.0}, {"b": 1.1}, {"indexes": 0}])
def test_parameters_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="BM25 needs"):
        BM25(**bad)


def test_only_changed_items_are_split_into_words():
    bm25 = BM25()
    bank = bank_of(*(f"fact {n}" for n in range(100)))
    bm25.search(["fact"], bank.items, k=2)
    assert bm25.tokenised == 100
    for step, operation in enumerate([Insert("new fact"), Update("m7", "fact changed"), Delete("m9")], start=100):
        bank, _ = bank.apply(operation, step)
        bm25.search(["fact"], bank.items, k=2)
    assert bm25.tokenised == 102
    bank, _ = bank.apply(Update("m7", "fact changed"), 103)  # same text, newer
    [[(item, _)]] = bm25.search(["changed"], bank.items, k=1)
    assert item.writes == (6, 101, 103)
    assert bm25.tokenised == 102


def test_banks_asked_in_turn_keep_their_indexes():
    bm25 = BM25()
    banks = [bank_of(*(f"stream {g} fact {n}" for n in range(20))) for g in range(48)]
    for step in range(20, 25):
        banks = [bank.apply(Insert(f"news of step {step}"), step)[0] for bank in banks]
        for bank in banks:
            bm25.search(["news"], bank.items, k=2)
    assert bm25.tokenised == 48 * 20 + 48 * 5


def test_siblings_start_from_a_copy_of_their_common_past():
    bm25 = BM25()
    past = bank_of(*(f"fact {n}" for n in range(50)))
    bm25.search(["fact"], past.items, k=2)
    for sibling in range(8):
        bank, _ = past.apply(Insert(f"seen by {sibling}"), 50)
        [[(item, _)]] = bm25.search([f"{sibling} seen"], bank.items, k=1)
        assert item.text == f"seen by {sibling}"
    assert bm25.tokenised == 50 + 8


def test_a_text_that_siblings_write_alike_is_split_once():
    bm25 = BM25()
    past = bank_of("ada", "turin", "rain")
    for words in ("seen by all", "seen by all", "seen by one"):
        bank, _ = past.apply(Insert(words), 3)
        assert bm25.search(["seen"], bank.items, k=1)[0][0][0].text == words
    assert bm25.tokenised == 3 + 2


def test_an_index_full_of_forgotten_texts_is_begun_anew():
    bm25 = BM25()
    bank = bank_of(*(f"fact {n}" for n in range(10)))
    for step in range(10, 1000):
        bank, _ = bank.apply(Delete(bank.items[0].id), step)
        bank, _ = bank.apply(Insert(f"fact {step}"), step)
        assert bm25.search(["fact"], bank.items, k=1) == BM25().search(["fact"], bank.items, k=1)
        assert max(len(each.numbers) for each in bm25._pool) <= 4 * (10 + 16)
    assert bm25.tokenised < 990 + 2 * 10 * 10


def test_many_queries_are_answered_as_each_by_itself():
    items = bank_of(*(f"fact {n} of {n % 7} and {n % 11}" for n in range(1500))).items
    queries = [f"fact of {n}" for n in range(12)]
    together = BM25().search(queries, items, k=3)
    assert together == [BM25().search([query], items, k=3)[0] for query in queries]


@settings(max_examples=150)
@given(st.lists(st.tuples(st.lists(TEXTS, max_size=30), st.lists(TEXTS, max_size=3)), max_size=8), st.integers(0, 4))
def test_banks_asked_together_are_answered_as_each_by_itself(asked: list[tuple[list[str], list[str]]], k: int):
    banks = [(queries, bank_of(*texts).items) for texts, queries in asked]
    assert BM25().search_each(banks, k) == [BM25().search(queries, items, k) for queries, items in banks]


def test_many_siblings_asked_together_are_answered_as_each_by_itself():
    past = bank_of(*(f"fact {n} of {n % 7} and {n % 11}" for n in range(1500)))
    banks = [past.apply(Insert(f"fact seen by {sibling}"), 1500)[0].items for sibling in range(40)]
    queries = [f"fact of {n} by {n}" for n in range(50)]
    together = BM25().search_each([(queries, items) for items in banks], k=2)
    for items, found in zip(banks, together, strict=True):
        assert found == BM25().search(queries, items, k=2)


def test_an_index_changed_in_place_leaves_its_copies_alone():
    bm25 = BM25(indexes=2)
    past = bank_of("rain")
    left, _ = past.apply(Insert("sun"), 1)
    right, _ = past.apply(Insert("rain again"), 1)
    for bank in (past, left, right):  # the third takes over the index of the first, of which the second has a copy
        bm25.search(["rain"], bank.items, k=2)
    left, _ = left.apply(Insert("snow"), 2)
    assert bm25.search(["rain"], left.items, k=2) == BM25().search(["rain"], left.items, k=2)


@settings(max_examples=150)
@given(st.lists(TEXTS, min_size=1, max_size=12), TEXTS, st.integers(1, 4))
def test_the_score_is_the_formulas_to_the_last_bit(texts: list[str], query: str, k: int):
    items = bank_of(*texts).items
    words = [re.findall(r"\w+", text.lower()) for text in texts]
    mean_length = sum(map(len, words)) / len(words)
    scores = [0.0] * len(items)
    for word in re.findall(r"\w+", query.lower()):
        df = sum(word in held for held in words)
        idf = math.log(1 + (len(items) - df + 0.5) / (df + 0.5))
        for place, held in enumerate(words):
            if word in held:
                tf = held.count(word)
                scores[place] += idf * tf * (1.5 + 1) / (tf + 1.5 * (1 - 0.75 + 0.75 * len(held) / mean_length))
    ranked = sorted(zip(scores, range(len(items)), strict=True), reverse=True)
    expected = [(items[place], score) for score, place in ranked if score > 0][:k]
    assert BM25().search([query], items, k) == [expected]


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.lists(OPERATIONS, max_size=3)), min_size=1, max_size=20),
    st.integers(1, 5),
    TEXTS,
)
def test_an_updated_index_scores_as_a_fresh_one_to_the_last_bit(
    edits: list[tuple[int, list[Operation]]], indexes: int, query: str
):
    kept = BM25(indexes=indexes)
    banks = [MemoryBank()] * 4
    for step, (which, operations) in enumerate(edits):
        for operation in operations:
            banks[which], _ = banks[which].apply(operation, step)
        items = banks[which].items
        assert kept.search([query, "the turin"], items, 3) == BM25().search([query, "the turin"], items, 3)
