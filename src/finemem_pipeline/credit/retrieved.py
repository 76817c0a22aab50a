"""Evidence-anchored attribution: a right answer is owed to the steps that last wrote what was retrieved for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit.sharing import spread_by_weights
from finemem_pipeline.rollouts import Rollout


def retrieved(rollout: Rollout) -> NDArray[np.float64]:
    """N_t of the final answers (T,), with φ(m) the last step that wrote item m. Raises ValueError if none is scored."""
    return spread_by_evidence(
        [answer.score for answer in rollout.answers],
        [[item.writes[-1] for item in answer.evidence] for answer in rollout.answers],
        len(rollout.steps),
    )


def spread_by_evidence(
    scores: Sequence[float | None], evidence: Sequence[Sequence[int]], steps: int
) -> NDArray[np.float64]:
    """N_t = Σ_j Σ_{m∈R_j, φ(m)=t} s_j / (|R_j|·N), an array (T,) that adds up to the mean of the scores.

    `evidence[j]` lists φ(m) of every item retrieved for question j; where it is empty the share goes evenly to all
    steps. Unscored questions (None) are left out and N counts the others. Raises ValueError if none is scored, or a
    step is not one of the T.
    """
    return spread_by_weights(scores, [[(step, 1.0) for step in writers] for writers in evidence], steps)
