"""A right answer is owed to the items without which it would have been wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit.counterfactual import Worth, worth
from finemem_pipeline.credit.sharing import Weights, spread_by_weights
from finemem_pipeline.rollouts import Answer, Rollout

WITHOUT_ONE = "without_one"
"""The probe: s_j(R_j∖m) for every m ∈ R_j of every question with s_j > 0."""


def leave_one_out(rollout: Rollout) -> NDArray[np.float64]:
    """Σ_j s_j/N · d_jm/Σ_m d_jm to φ(m) (T,), d_jm = max(0, s_j(R_j) − s_j(R_j∖m)).

    Where no item is missed (each says it all) the question is shared as in `retrieved`; evenly where a counterfactual
    answer failed. Adds up to the mean score. Raises ValueError if no answer is scored or none was probed.
    """
    without = worth(rollout, WITHOUT_ONE)
    return spread_by_weights(
        [answer.score for answer in rollout.answers],
        [_weights(answer, without) for answer in rollout.answers],
        len(rollout.steps),
    )


def _weights(answer: Answer, without: Worth) -> Weights:
    if not answer.score:
        return []  # nothing to share
    shown = frozenset(item.id for item in answer.evidence)
    missed = []
    for item in answer.evidence:
        left = without[answer.question_id, shown - {item.id}]
        if left is None:
            return []
        missed.append((item.writes[-1], max(0.0, answer.score - left)))
    if any(weight for _, weight in missed):
        return missed
    return [(item.writes[-1], 1.0) for item in answer.evidence]
