from __future__ import annotations

from finemem_pipeline.credit import cited
from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.rollouts import Answer

FACT, JUNK = MemoryItem("m1", "", (0,)), MemoryItem("m2", "", (0, 2))


def test_only_what_the_reasoner_used_is_credited(told):
    rollout = told(
        Answer("q0", "", (FACT, JUNK), cited=("m1",), score=1.0),
        Answer("q1", "", (JUNK, FACT), cited=("m2", "m1"), score=0.5),
    )
    assert cited(rollout).tolist() == [0.625, 0.0, 0.125]


def test_where_nothing_is_cited_all_retrieved_share(told):
    assert cited(told(Answer("q0", "", (FACT, JUNK), score=1.0))).tolist() == [0.5, 0.0, 0.5]


def test_a_citation_of_what_was_not_retrieved_is_none(told):
    assert cited(told(Answer("q0", "", (FACT, JUNK), cited=("m9",), score=1.0))).tolist() == [0.5, 0.0, 0.5]


def test_an_answer_without_evidence_is_shared_evenly(told):
    assert cited(told(Answer("q0", "", cited=("m1",), score=0.75))).tolist() == [0.25, 0.25, 0.25]
