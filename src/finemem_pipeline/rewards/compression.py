"""How much shorter than the stream is the memory?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.rollouts import Rollout


def compression(rollout: Rollout) -> float:
    """r_comp = 1 − L(M_T) / Σ_t L(c_t), the share of the tokens read that the bank does not hold. May be negative."""
    return 1.0 - rollout.final_tokens / rollout.tokens_read


def step_compression(rollout: Rollout) -> NDArray[np.float64]:
    """−(L(M_t) − L(M_{t−1})) / L(c_t) (T,): what the step made the memory grow by, as a share of the chunk, negated."""
    held = np.array([0, *(step.bank_tokens for step in rollout.steps)], dtype=np.float64)
    return -np.diff(held) / np.array([step.chunk_tokens for step in rollout.steps], dtype=np.float64)
