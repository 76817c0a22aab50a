"""What all schemes do alike: share the scores of the answers over the steps, by weights of the scheme's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Weights = Sequence[tuple[int, float]]
"""(step, weight) as often as a step is owed something; weights of one question are relative to each other."""


def spread_by_weights(scores: Sequence[float | None], weights: Sequence[Weights], steps: int) -> NDArray[np.float64]:
    """Σ_j s_j/N · w_jt/Σ_t w_jt, an array (T,) that adds up to the mean of the scores.

    Where the weights of a question add up to 0, or there are none, its share goes evenly to all steps. Unscored
    questions (None) are left out and N counts the others. Raises ValueError if none is scored, a weight is negative
    or no number, or a step is not one of the T.
    """
    if steps < 1 or len(scores) != len(weights):
        raise ValueError(f"found {len(scores)} scores, {len(weights)} lists of weights, {steps} steps")
    scored = [(score, owed) for score, owed in zip(scores, weights, strict=True) if score is not None]
    if not scored:
        raise ValueError(f"none of {len(scores)} answers is scored: there is nothing to share")
    credit = np.zeros(steps)
    for score, owed in scored:
        if not math.isfinite(score):
            raise ValueError(f"a score must be a number, or None where there is none; found {score}")
        for step, weight in owed:
            if not 0 <= step < steps:
                raise ValueError(f"evidence written at step {step}, the steps are 0..{steps - 1}")
            if not 0 <= weight < math.inf:
                raise ValueError(f"a weight must be a number from 0, found {weight} at step {step}")
        total = math.fsum(weight for _, weight in owed)
        if total == 0:
            credit += score / (steps * len(scored))
            continue
        for step, weight in owed:
            credit[step] += score * (weight / total) / len(scored)
    return credit
