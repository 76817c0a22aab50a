from __future__ import annotations

import pytest

from finemem_pipeline.credit import NEEDS, leave_one_out
from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.rollouts import Answer

ONE, TWO = MemoryItem("m1", "", (0,)), MemoryItem("m2", "", (0, 2))
WITHOUT = NEEDS["leave_one_out"]


def test_an_item_gets_what_is_lost_without_it(told):
    rollout = told(
        Answer("q0", "", (ONE, TWO), score=1.0),
        Answer("q1", "", (TWO,), score=0.5),
        probes={
            WITHOUT: [
                Answer("q0", "", (TWO,), score=0.25),  # 0.75 is lost without m1
                Answer("q0", "", (ONE,), score=0.75),  # 0.25 without m2
                Answer("q1", "", (), score=0.0),
            ]
        },
    )
    assert leave_one_out(rollout).tolist() == [0.375, 0.0, 0.375]


def test_an_item_that_did_harm_gets_nothing_and_takes_nothing(told):
    rollout = told(
        Answer("q", "", (ONE, TWO), score=0.5),
        probes={WITHOUT: [Answer("q", "", (TWO,), score=0.0), Answer("q", "", (ONE,), score=1.0)]},
    )
    assert leave_one_out(rollout).tolist() == [0.5, 0.0, 0.0]


def test_redundant_evidence_shares_as_retrieved(told):
    rollout = told(
        Answer("q", "", (ONE, TWO), score=1.0),
        probes={WITHOUT: [Answer("q", "", (TWO,), score=1.0), Answer("q", "", (ONE,), score=1.0)]},
    )
    assert leave_one_out(rollout).tolist() == [0.5, 0.0, 0.5]


def test_a_failed_counterfactual_leaves_its_question_to_all_steps(told):
    rollout = told(
        Answer("q", "", (ONE, TWO), score=0.75),
        probes={WITHOUT: [Answer("q", "", (TWO,), score=0.0), Answer("q", "", (ONE,), failure="timed out")]},
    )
    assert leave_one_out(rollout).tolist() == [0.25, 0.25, 0.25]


def test_a_wrong_or_unscored_answer_needs_no_counterfactual(told):
    rollout = told(Answer("q0", "", (ONE,), score=0.0), Answer("q1", "", (TWO,)), probes={WITHOUT: []})
    assert leave_one_out(rollout).tolist() == [0.0, 0.0, 0.0]


def test_an_answer_without_evidence_is_shared_evenly(told):
    assert leave_one_out(told(Answer("q", "", score=0.75), probes={WITHOUT: []})).tolist() == [0.25, 0.25, 0.25]


def test_a_rollout_that_was_not_probed_is_refused(told):
    with pytest.raises(ValueError, match="e/0 was not probed for 'without_one'"):
        leave_one_out(told(Answer("q", "", (ONE,), score=1.0)))
