from __future__ import annotations

import math

import pytest

from finemem_pipeline.credit import rank_weighted
from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.rollouts import Answer

FIRST, SECOND = MemoryItem("m1", "", (0,)), MemoryItem("m2", "", (0, 2))


def test_what_fits_better_by_ln_3_gets_three_times_as_much(told):
    rollout = told(
        Answer("q0", "", (FIRST, SECOND), (5.0 + math.log(3), 5.0), score=1.0),
        Answer("q1", "", (SECOND,), (0.1,), score=0.5),
    )
    assert rank_weighted(rollout).tolist() == pytest.approx([0.375, 0.0, 0.375], abs=1e-15)


def test_equal_fit_shares_as_retrieved(told):
    assert rank_weighted(told(Answer("q", "", (FIRST, SECOND), (2.0, 2.0), score=1.0))).tolist() == [0.5, 0.0, 0.5]


def test_scores_of_any_size_are_weighed(told):
    rollout = told(Answer("q", "", (FIRST, SECOND), (5000.0, -5000.0), score=1.0))
    assert rank_weighted(rollout).tolist() == [1.0, 0.0, 0.0]


def test_an_answer_without_evidence_is_shared_evenly(told):
    assert rank_weighted(told(Answer("q", "", score=0.75))).tolist() == [0.25, 0.25, 0.25]
