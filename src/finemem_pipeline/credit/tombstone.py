"""As retrieved, and a step that deleted what an answer needed is charged for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit.counterfactual import probed
from finemem_pipeline.credit.retrieved import retrieved
from finemem_pipeline.replay import deletions
from finemem_pipeline.rollouts import Rollout

TOMBSTONES = "tombstones"
"""The probe: s_j(top-k of memory and deleted items), for every question whose top-k then holds a deleted item."""


def tombstone(rollout: Rollout) -> NDArray[np.float64]:
    """`retrieved` − Σ_j max(0, s_j(top-k with the deleted) − s_j(R_j))/N at the steps that deleted (T,).

    A charge is shared evenly by the deleted items among the top-k. Does not add up to the mean score: charges are
    extra. A counterfactual that failed charges nobody. Raises ValueError if no answer is scored or none was probed.
    """
    credit = retrieved(rollout)
    scores = {answer.question_id: answer.score for answer in rollout.answers if answer.score is not None}
    grave = {item.id: step for item, step in deletions(rollout)}
    for answer in probed(rollout, TOMBSTONES):
        had = scores.get(answer.question_id)
        if had is None or answer.score is None:
            continue
        missed = [item.id for item in answer.evidence if item.id in grave]
        for item_id in missed:
            credit[grave[item_id]] -= max(0.0, answer.score - had) / (len(missed) * len(scores))
    return credit
