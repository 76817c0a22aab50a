from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, MemoryItem, Operation, Skip, Update
from finemem_pipeline.records import RecordError, decode_rollout, encode_rollout
from finemem_pipeline.rewards import score_group, score_rollout, variant
from finemem_pipeline.rollouts import Answer, Completion, Rollout, RolloutGroup, StepRecord

FINE_MEM = variant(
    "fine_mem",
    {
        "outcome": {"weight": 1.0, "spread": {"scheme": "retrieved", "beta": 0.3}},
        "chunk": {"weight": 0.7},
        "format": {"weight": 0.1},
        "compression": {"weight": 0.05},
    },
)
TEXTS = st.text(st.characters(codec=None), max_size=8)
FLOATS = st.floats(allow_nan=False)
IDS = st.integers(1, 5).map("m{}".format)
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Insert, TEXTS), st.builds(Update, IDS, TEXTS), st.builds(Delete, IDS), st.just(Skip())
)


@st.composite
def answers(draw: st.DrawFn, bank: MemoryBank, prefix: str, count: int) -> tuple[Answer, ...]:
    stranger = st.builds(MemoryItem, IDS, TEXTS, st.just((0,)))
    items = st.one_of(st.sampled_from(bank.items), stranger) if bank.items else stranger
    return tuple(
        Answer(
            question_id=f"{prefix}{number}",
            prediction=draw(TEXTS),
            evidence=tuple(draw(st.lists(items, max_size=2))),
            evidence_scores=tuple(draw(st.lists(FLOATS, max_size=2))),
            cited=tuple(draw(st.lists(IDS, max_size=2))),
            score=draw(st.one_of(st.none(), st.floats(0, 1))),
            failure=draw(st.one_of(st.none(), TEXTS)),
        )
        for number in range(count)
    )


@st.composite
def rollouts(draw: st.DrawFn, steps: int | None = None) -> Rollout:
    """Any rollout; at times the manager refused what the bank would take, or the bank is not what was played."""
    bank, records = MemoryBank(), []
    for t in range(steps or draw(st.integers(1, 4))):
        applied = []
        for operation in draw(st.lists(OPERATIONS, max_size=4)):
            if draw(st.integers(0, 9)) == 0:
                applied.append(Applied(operation, refused="not shown"))
                continue
            bank, outcome = bank.apply(operation, t)
            applied.append(outcome)
        if draw(st.integers(0, 9)) == 0:
            bank = MemoryBank((MemoryItem("m9", draw(TEXTS), (0,)),), born=9)
        logprobs = draw(st.lists(st.floats(max_value=0, allow_nan=False), max_size=3))
        records.append(
            StepRecord(
                step=t,
                completion=Completion(draw(TEXTS), (1, 2), tuple(range(len(logprobs))), tuple(logprobs), "length"),
                operations=tuple(applied),
                malformed=tuple(draw(st.lists(TEXTS, max_size=2))),
                bank=bank,
                bank_tokens=draw(st.integers(0, 99)),
                chunk_tokens=7,
                answers=draw(answers(bank, f"c{t}q", 2)),
                probes={"before": draw(answers(bank, f"c{t}q", 1))},
            )
        )
    return Rollout(
        "e",
        draw(st.integers(0, 7)),
        tuple(records),
        draw(answers(bank, "q", 3)),
        tokens_read=7 * len(records),
        probes={"subsets": draw(answers(bank, "q", 2))},
    )


def on_disk_and_back(rollout: Rollout) -> Rollout:
    return decode_rollout(json.loads(json.dumps(encode_rollout(rollout))))


@given(rollouts())
def test_what_is_read_back_is_what_was_written(rollout: Rollout):
    assert on_disk_and_back(rollout) == rollout


@given(rollouts())
def test_rewards_from_disk_have_the_same_bits(rollout: Rollout):
    before, after = score_rollout(rollout, FINE_MEM), score_rollout(on_disk_and_back(rollout), FINE_MEM)
    assert before.total.tobytes() == after.total.tobytes()
    for name, term in before.terms.items():
        assert term.tobytes() == after.terms[name].tobytes()


@given(st.lists(rollouts(steps=3), min_size=2, max_size=4))
def test_advantages_from_disk_have_the_same_bits(siblings: list[Rollout]):
    group = RolloutGroup("e", tuple(siblings))
    read = RolloutGroup("e", tuple(on_disk_and_back(sibling) for sibling in group.rollouts))
    before, after = score_group(group, FINE_MEM), score_group(read, FINE_MEM)
    assert before.rewards.tobytes() == after.rewards.tobytes()
    assert before.advantages.tobytes() == after.advantages.tobytes()
    assert before.questions == after.questions


def test_nan_and_none_are_kept():
    step = StepRecord(0, Completion("", (1,), (2,), (float("nan"),)), (), (), MemoryBank(), 0, 1)
    rollout = Rollout("e", 0, (step,), (Answer("q", "", score=None, failure="timed out"),), 1)
    back = on_disk_and_back(rollout)
    assert np.isnan(back.steps[0].completion.logprobs[0])
    assert back.answers == rollout.answers


def test_a_bank_costs_no_more_than_its_operations():
    bank, records = MemoryBank(), []
    for t in range(50):
        bank, applied = bank.apply(Insert("a fact of some length " * 10), t)
        answer = Answer("q", "", evidence=bank.items[:2], evidence_scores=(1.0, 0.5), score=1.0)
        records.append(StepRecord(t, Completion(""), (applied,), (), bank, t, 9, answers=(answer,)))
    rollout = Rollout("e", 0, tuple(records), (), 450)
    assert len(json.dumps(encode_rollout(rollout))) < 50 * 800
    assert on_disk_and_back(rollout) == rollout


@pytest.mark.parametrize("record", [{}, {"steps": [{}]}, [], None, {"steps": [{"operations": [{"op": "Fly"}]}]}])
def test_another_record_is_refused(record):
    with pytest.raises(RecordError, match="not the record of a rollout"):
        decode_rollout(record)
