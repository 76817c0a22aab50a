from __future__ import annotations

import pytest

from finemem_pipeline.credit import lineage
from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.rollouts import Answer


def test_every_writer_gets_half_of_what_the_next_one_gets(told):
    rollout = told(Answer("q", "", (MemoryItem("m1", "", (0, 1, 2)),), score=0.875))
    assert lineage(rollout).tolist() == pytest.approx([0.125, 0.25, 0.5], abs=1e-15)


def test_items_share_first_and_their_writers_then(told):
    rollout = told(
        Answer("q0", "", (MemoryItem("m1", "", (0, 2)), MemoryItem("m2", "", (1,))), score=1.0),
        Answer("q1", "", (MemoryItem("m2", "", (1,)),), score=0.5),
    )
    assert lineage(rollout).tolist() == pytest.approx([1 / 12, 0.5, 1 / 6], abs=1e-15)


def test_two_versions_of_one_step_are_two_versions(told):
    rollout = told(Answer("q", "", (MemoryItem("m1", "", (0, 2, 2)),), score=0.875))
    assert lineage(rollout).tolist() == pytest.approx([0.125, 0.0, 0.75], abs=1e-15)


def test_an_answer_without_evidence_is_shared_evenly(told):
    assert lineage(told(Answer("q", "", score=0.75))).tolist() == [0.25, 0.25, 0.25]
