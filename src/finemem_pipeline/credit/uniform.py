"""Every step earned the same: what is left when nobody knows who did it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.rollouts import Rollout


def uniform(rollout: Rollout) -> NDArray[np.float64]:
    """The mean score of the final answers, shared evenly over the steps (T,). Raises ValueError if none is scored."""
    scores = [answer.score for answer in rollout.answers if answer.score is not None]
    if not scores:
        raise ValueError(f"no answer of rollout {rollout.episode_id}/{rollout.sibling} is scored: nothing to share")
    return spread_evenly(sum(scores) / len(scores), len(rollout.steps))


def spread_evenly(value: float, steps: int) -> NDArray[np.float64]:
    """`value`/T at each of the T steps."""
    if steps < 1:
        raise ValueError(f"credit needs at least one step to go to, found {steps}")
    return np.full(steps, value / steps)
