"""Was this chunk kept? The Chunk-level Step Reward and its relatives."""

from __future__ import annotations

from finemem_pipeline.rewards.steps import StepReward, probed, step_means
from finemem_pipeline.rollouts import Rollout

BEFORE = "before"
"""The probe: chunk t's questions, answered from M_{t−1}."""

NO_MEMORY = "no_memory"
"""The probe: chunk t's questions, answered from nothing."""

OLDER = "older"
"""The probe: a sample of the questions of chunks before t, answered from M_t."""


def chunk(rollout: Rollout) -> StepReward:
    """r_chunk(t) = acc_t(M_t), the mean score of chunk t's questions, answered from M_t. Absent where it has none."""
    return step_means(rollout, lambda step: step.answers)


def delta_chunk(rollout: Rollout) -> StepReward:
    """acc_t(M_t) − acc_t(M_{t−1}) on chunk t's questions: what the step added. Absent where the chunk has none."""
    return chunk(rollout) - step_means(rollout, probed(BEFORE))


def qa_gain(rollout: Rollout) -> StepReward:
    """acc_t(M_t) − acc_t(∅) on chunk t's questions: what the reader did not know. Absent where the chunk has none."""
    return chunk(rollout) - step_means(rollout, probed(NO_MEMORY))


def retention(rollout: Rollout) -> StepReward:
    """The mean score of a sample of older chunks' questions, answered from M_t. Absent while there are none.

    Falls where an UPDATE or DELETE destroys what was known.
    """
    return step_means(rollout, probed(OLDER))
