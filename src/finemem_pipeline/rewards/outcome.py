"""Did the memory, at the end, answer the questions?"""

from __future__ import annotations

import numpy as np

from finemem_pipeline.rewards.steps import StepReward
from finemem_pipeline.rollouts import Rollout


def outcome(rollout: Rollout) -> float | StepReward:
    """r_global, the mean score of the final answers. NaN if all of them failed, absent if nothing was asked."""
    scores = [answer.score for answer in rollout.answers if answer.score is not None]
    if not rollout.answers:
        return np.ma.masked_all(len(rollout.steps), dtype=np.float64)
    return sum(scores) / len(scores) if scores else float("nan")
