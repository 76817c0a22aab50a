"""Chunk-level Step Reward: did the manager keep what this chunk said?"""

from __future__ import annotations

from finemem_pipeline.rewards.steps import StepReward, step_means
from finemem_pipeline.rollouts import Rollout


def chunk(rollout: Rollout) -> StepReward:
    """r_chunk(t), the mean score of chunk t's questions, answered from M_t. Absent where a chunk has none."""
    return step_means(rollout, lambda step: step.answers)
