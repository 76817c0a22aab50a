from __future__ import annotations

from collections.abc import Mapping

import pytest

from finemem_pipeline.credit import NEEDS, shapley
from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.rollouts import Answer

ITEMS = {name: MemoryItem(f"m{name}", "", (0, int(name) - 1)) for name in "123"}
SUBSETS = NEEDS["shapley"]


def scored(worth: Mapping[str, float | None]) -> list[Answer]:
    """Answers to question q from the items named in each key."""
    return [Answer("q", "", tuple(ITEMS[name] for name in names), score=score) for names, score in worth.items()]


def test_two_items_get_their_mean_marginal_scores_and_what_needs_neither_goes_to_all(told):
    whole, *parts = scored({"13": 1.0, "1": 0.5, "3": 0.25, "": 0.25})
    # m1: ½[(0.5 − 0.25) + (1 − 0.25)] = 0.5; m3: ½[(0.25 − 0.25) + (1 − 0.5)] = 0.25; 0.25/3 to each step
    expected = [0.25 / 3 + 0.5, 0.25 / 3, 0.25 / 3 + 0.25]
    assert shapley(told(whole, probes={SUBSETS: parts})).tolist() == pytest.approx(expected, abs=1e-15)


def test_the_glove_game_of_three(told):
    worth = {"123": 1.0, "12": 1.0, "13": 1.0, "23": 0.0, "1": 0.0, "2": 0.0, "3": 0.0, "": 0.0}
    whole, *parts = scored(worth)
    assert shapley(told(whole, probes={SUBSETS: parts})).tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6], abs=1e-15)


def test_an_item_that_misleads_is_charged(told):
    whole, *parts = scored({"12": 0.0, "1": 1.0, "2": 0.0, "": 0.0})
    assert shapley(told(whole, probes={SUBSETS: parts})).tolist() == [0.5, -0.5, 0.0]


def test_questions_weigh_the_same_and_unscored_ones_nothing(told):
    whole, *parts = scored({"2": 1.0, "": 0.0})
    rollout = told(whole, Answer("p", "", score=0.75), Answer("o", "", (ITEMS["1"],)), probes={SUBSETS: parts})
    assert shapley(rollout).tolist() == [0.125, 0.625, 0.125]


@pytest.mark.parametrize("failed", ["1", "3", ""])
def test_a_failed_counterfactual_leaves_its_question_to_all_steps(told, failed: str):
    whole, *parts = scored({"13": 0.75, "1": 0.5, "3": 0.25, "": 0.0, failed: None})
    assert shapley(told(whole, probes={SUBSETS: parts})).tolist() == [0.25, 0.25, 0.25]


def test_more_than_three_items_are_refused(told):
    items = tuple(MemoryItem(f"m{n}", "", (0,)) for n in range(4))
    with pytest.raises(ValueError, match="question q brought back 4 items, shapley takes 3 at most"):
        shapley(told(Answer("q", "", items, score=1.0), probes={SUBSETS: []}))


def test_what_was_not_scored_or_not_probed_is_refused(told):
    with pytest.raises(ValueError, match="nothing to share"):
        shapley(told(Answer("q", ""), probes={SUBSETS: []}))
    with pytest.raises(ValueError, match="not probed for 'subsets'"):
        shapley(told(Answer("q", "", score=1.0)))
