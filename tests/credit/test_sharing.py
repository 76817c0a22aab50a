from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.credit import spread_by_weights
from finemem_pipeline.credit.sharing import Weights

SCORES = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=40).filter(
    lambda scores: any(score is not None for score in scores)
)


@st.composite
def shares(draw: st.DrawFn) -> tuple[list[float | None], list[Weights], int]:
    """Scores with at least one number, weights with at times none or zeros alone, T."""
    steps, scores = draw(st.integers(1, 30)), draw(SCORES)
    weight = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1e6, allow_subnormal=False))
    owed = st.lists(st.tuples(st.integers(0, steps - 1), weight), max_size=5)
    return scores, draw(st.lists(owed, min_size=len(scores), max_size=len(scores))), steps


def test_a_score_is_shared_by_the_weights_of_its_question():
    credit = spread_by_weights([1.0, 0.5], [[(0, 3.0), (2, 1.0)], [(1, 0.1)]], steps=3)
    assert credit.tolist() == [0.375, 0.25, 0.125]


def test_weights_of_one_step_add_up():
    assert spread_by_weights([1.0], [[(0, 1.0), (1, 2.0), (0, 1.0)]], steps=3).tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("owed", [[], [(0, 0.0)], [(0, 0.0), (2, 0.0)]])
def test_a_question_that_owes_nobody_is_shared_evenly(owed):
    assert spread_by_weights([0.75], [owed], steps=3).tolist() == [0.25, 0.25, 0.25]


def test_unscored_questions_are_left_out_and_not_counted():
    assert spread_by_weights([None, 1.0], [[(0, 1.0)], [(2, 1.0)]], steps=3).tolist() == [0.0, 0.0, 1.0]


@given(shares())
def test_nothing_is_created_and_nothing_lost(case: tuple[list[float | None], list[Weights], int]):
    scores, weights, steps = case
    credit = spread_by_weights(scores, weights, steps)
    scored = [score for score in scores if score is not None]
    assert (credit >= 0).all()
    assert abs(math.fsum(credit) - math.fsum(scored) / len(scored)) <= 1e-12


@pytest.mark.parametrize(
    ("scores", "weights", "steps", "reason"),
    [
        ([None], [[]], 3, "none of 1 answers is scored"),
        ([1.0], [[(3, 1.0)]], 3, r"step 3, the steps are 0\.\.2"),
        ([1.0], [[(0, -0.5)]], 3, "found -0.5 at step 0"),
        ([1.0], [[(1, float("nan"))]], 3, "found nan at step 1"),
        ([1.0], [[(1, float("inf"))]], 3, "found inf at step 1"),
        ([float("inf")], [[]], 3, "found inf"),
        ([1.0], [[], []], 3, "1 scores, 2 lists"),
        ([1.0], [[]], 0, "0 steps"),
    ],
)
def test_what_cannot_be_shared_is_refused(scores, weights, steps, reason: str):
    with pytest.raises(ValueError, match=reason):
        spread_by_weights(scores, weights, steps)
