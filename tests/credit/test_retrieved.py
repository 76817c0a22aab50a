from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.credit import SCHEMES, spread_by_evidence

SCORES = st.one_of(st.none(), st.floats(0, 1))


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[float | None], list[list[int]], int]:
    """Scores with at least one number, the writers of each answer's evidence, T."""
    steps = draw(st.integers(1, 50))
    scores = draw(st.lists(SCORES, min_size=1, max_size=60).filter(lambda found: any(s is not None for s in found)))
    writers = st.lists(st.integers(0, steps - 1), max_size=6)
    return scores, draw(st.lists(writers, min_size=len(scores), max_size=len(scores))), steps


def test_credit_goes_to_the_last_writers_of_the_evidence():
    credit = spread_by_evidence(scores=[1.0, 0.0], evidence=[[0, 2], [1]], steps=3)
    assert credit.tolist() == [0.25, 0.0, 0.25]


def test_two_items_of_one_step_earn_it_two_shares():
    assert spread_by_evidence([1.0], [[0, 0, 1, 1]], steps=2).tolist() == [0.5, 0.5]


def test_an_answer_without_evidence_is_shared_evenly():
    assert spread_by_evidence([1.0, 1.0], [[], [1]], steps=2).tolist() == [0.25, 0.75]


def test_unscored_answers_are_left_out_and_not_counted():
    assert spread_by_evidence([1.0, None], [[0], [1]], steps=2).tolist() == [1.0, 0.0]


@given(answers())
def test_credit_adds_up_to_the_mean_of_the_scored_answers(case: tuple[list[float | None], list[list[int]], int]):
    scores, evidence, steps = case
    credit = spread_by_evidence(scores, evidence, steps)
    scored = [score for score in scores if score is not None]
    assert credit.shape == (steps,)
    assert (credit >= 0).all()
    assert abs(math.fsum(credit) - math.fsum(scored) / len(scored)) <= 1e-12


@pytest.mark.parametrize(
    ("scores", "evidence", "steps", "reason"),
    [
        ([None, None], [[0], []], 1, "none of 2 answers is scored"),
        ([], [], 1, "none of 0 answers is scored"),
        ([1.0], [[3]], 3, "evidence written at step 3"),
        ([1.0], [[-1]], 3, "evidence written at step -1"),
        ([1.0], [], 3, "1 scores, 0 lists"),
        ([1.0], [[]], 0, "0 steps"),
        ([float("nan")], [[0]], 1, "found nan"),
    ],
)
def test_what_cannot_be_shared_is_refused(scores, evidence, steps, reason: str):
    with pytest.raises(ValueError, match=reason):
        spread_by_evidence(scores, evidence, steps)


def test_the_scheme_reads_the_last_write_of_every_item(answered):
    rollout = answered(scores=[1.0, 0.5, None], evidence=[[1, 2], [], [0]], steps=4)
    assert SCHEMES["retrieved"](rollout).tolist() == [0.0625, 0.3125, 0.3125, 0.0625]
