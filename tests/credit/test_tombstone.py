from __future__ import annotations

import pytest

from finemem_pipeline.credit import NEEDS, retrieved, tombstone
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryItem
from finemem_pipeline.rollouts import Answer

ONE, TWO, KEPT = MemoryItem("m1", "a", (0,)), MemoryItem("m2", "b", (0,)), MemoryItem("m3", "c", (0,))
TOMBSTONES = NEEDS["tombstone"]
DELETED = {  # step 0 writes three items, step 1 deletes the first, step 2 the second
    0: [Applied(Insert("a"), "m1"), Applied(Insert("b"), "m2"), Applied(Insert("c"), "m3")],
    1: [Applied(Delete("m1"), "m1")],
    2: [Applied(Delete("m2"), "m2"), Applied(Delete("m1"), refused="no item m1")],
}


def test_a_step_is_charged_for_what_its_deletion_cost(told):
    rollout = told(
        Answer("q0", "", (KEPT,), score=0.25),
        Answer("q1", "", (KEPT,), score=0.5),
        probes={TOMBSTONES: [Answer("q0", "", (ONE, KEPT), score=1.0)]},
        operations=DELETED,
    )
    assert retrieved(rollout).tolist() == [0.375, 0.0, 0.0]
    assert tombstone(rollout).tolist() == [0.375, -0.375, 0.0]


def test_a_charge_is_shared_by_the_deleted_among_the_top(told):
    rollout = told(
        Answer("q", "", (KEPT,), score=0.0),
        probes={TOMBSTONES: [Answer("q", "", (ONE, TWO, KEPT), score=1.0)]},
        operations=DELETED,
    )
    assert tombstone(rollout).tolist() == [0.0, -0.5, -0.5]


@pytest.mark.parametrize("score", [None, 0.0, 0.5])
def test_a_deletion_that_cost_nothing_or_cannot_be_told_is_free(told, score: float | None):
    rollout = told(
        Answer("q", "", (KEPT,), score=0.5),
        probes={TOMBSTONES: [Answer("q", "", (ONE, KEPT), score=score)]},
        operations=DELETED,
    )
    assert tombstone(rollout).tolist() == [0.5, 0.0, 0.0]


def test_an_unscored_answer_charges_nobody_and_is_not_counted(told):
    rollout = told(
        Answer("q0", "", (KEPT,)),
        Answer("q1", "", (KEPT,), score=0.5),
        probes={TOMBSTONES: [Answer("q0", "", (TWO,), score=1.0), Answer("q1", "", (ONE, KEPT), score=1.0)]},
        operations=DELETED,
    )
    assert tombstone(rollout).tolist() == [0.5, -0.5, 0.0]


def test_a_rollout_that_was_not_probed_is_refused(told):
    with pytest.raises(ValueError, match="not probed for 'tombstones'"):
        tombstone(told(Answer("q", "", score=1.0)))
