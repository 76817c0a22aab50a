from __future__ import annotations

import numpy as np

from finemem_pipeline.memory import MemoryBank
from finemem_pipeline.rollouts import Completion, Rollout, RolloutGroup, StepRecord
from finemem_pipeline.training.samples import step_samples


def group(name: str, steps: int, siblings: int = 2) -> RolloutGroup:
    """Prompt ids tell the step, completion ids the sibling."""

    def rollout(g: int) -> Rollout:
        said = [Completion("", (10, t), (20, g), (-0.5, -0.25)) for t in range(steps)]
        records = [StepRecord(t, said[t], (), (), MemoryBank(), 0, 5) for t in range(steps)]
        return Rollout(name, g, tuple(records), (), 5 * steps)

    return RolloutGroup(name, tuple(rollout(g) for g in range(siblings)))


LONG, SHORT = group("long", 2), group("short", 1)
ADVANTAGES = [np.array([[1.0, 2.0], [-1.0, -2.0]]), np.array([[3.0], [-3.0]])]


def test_siblings_of_a_step_stand_side_by_side_then_steps_then_streams():
    rows = step_samples([LONG, SHORT], ADVANTAGES, steps=2, filler_id=0)
    assert [row.key for row in rows] == [
        ("long", 0, 0), ("long", 1, 0), ("long", 0, 1), ("long", 1, 1),
        ("short", 0, 0), ("short", 1, 0), ("short", 0, 1), ("short", 1, 1),
    ]  # fmt: skip


def test_a_row_is_what_was_said_and_its_own_advantage():
    rows = step_samples([LONG], ADVANTAGES[:1], steps=2, filler_id=0)
    assert [(row.prompt_ids, row.completion_ids, row.logprobs, row.advantage) for row in rows] == [
        ((10, 0), (20, 0), (-0.5, -0.25), 1.0),
        ((10, 0), (20, 1), (-0.5, -0.25), -1.0),
        ((10, 1), (20, 0), (-0.5, -0.25), 2.0),
        ((10, 1), (20, 1), (-0.5, -0.25), -2.0),
    ]
    assert not any(row.filler for row in rows)


def test_a_shorter_stream_is_filled_up_with_rows_that_carry_nothing():
    rows = step_samples([SHORT], ADVANTAGES[1:], steps=3, filler_id=9)
    assert [row.filler for row in rows] == [False, False, True, True, True, True]
    assert {(row.prompt_ids, row.completion_ids, row.advantage) for row in rows if row.filler} == {((9,), (9,), 0.0)}
