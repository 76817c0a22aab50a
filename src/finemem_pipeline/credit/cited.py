"""A right answer is owed to what the reasoner says it used, not to all that lay before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit.retrieved import spread_by_evidence
from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.rollouts import Answer, Rollout


def cited(rollout: Rollout) -> NDArray[np.float64]:
    """Σ_j Σ_{m∈C_j, φ(m)=t} s_j / (|C_j|·N) (T,), C_j ⊆ R_j the items cited; R_j where nothing is.

    Adds up to the mean score. Raises ValueError if no answer is scored.
    """
    return spread_by_evidence(
        [answer.score for answer in rollout.answers],
        [[item.writes[-1] for item in _used(answer)] for answer in rollout.answers],
        len(rollout.steps),
    )


def _used(answer: Answer) -> tuple[MemoryItem, ...]:
    return tuple(item for item in answer.evidence if item.id in answer.cited) or answer.evidence
