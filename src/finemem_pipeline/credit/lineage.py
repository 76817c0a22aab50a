"""A right answer is owed to all who wrote the item, the latest version most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit.sharing import Weights, spread_by_weights
from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.rollouts import Rollout

DECAY = 0.5
"""λ, what a version is worth beside the one that replaced it."""


def lineage(rollout: Rollout) -> NDArray[np.float64]:
    """Σ_j Σ_{m∈R_j} s_j/(|R_j|·N) · λ^(versions since)/Σ λ^… to each step that wrote m (T,).

    An item written once counts as in `retrieved`. Adds up to the mean score. Raises ValueError if no answer is scored.
    """
    return spread_by_weights(
        [answer.score for answer in rollout.answers],
        [[owed for item in answer.evidence for owed in _writers(item)] for answer in rollout.answers],
        len(rollout.steps),
    )


def _writers(item: MemoryItem) -> Weights:
    """The steps that wrote the item; their weights add up to 1."""
    worth = [DECAY**since for since in reversed(range(len(item.writes)))]
    return [(step, each / sum(worth)) for step, each in zip(item.writes, worth, strict=True)]
