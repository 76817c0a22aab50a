"""A right answer is owed to what the retriever found fitting, the more the better it fits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit.sharing import Weights, spread_by_weights
from finemem_pipeline.rollouts import Answer, Rollout

TEMPERATURE = 1.0
"""τ, in units of the retriever's score."""


def rank_weighted(rollout: Rollout) -> NDArray[np.float64]:
    """Σ_j Σ_{m∈R_j, φ(m)=t} s_j/N · softmax_m(b_jm/τ) (T,), b_jm the retriever's score of item m for question j.

    Adds up to the mean score. Raises ValueError if no answer is scored.
    """
    return spread_by_weights(
        [answer.score for answer in rollout.answers],
        [_weights(answer) for answer in rollout.answers],
        len(rollout.steps),
    )


def _weights(answer: Answer) -> Weights:
    best = max(answer.evidence_scores, default=0.0)
    return [
        (item.writes[-1], math.exp((fit - best) / TEMPERATURE))
        for item, fit in zip(answer.evidence, answer.evidence_scores, strict=True)
    ]
