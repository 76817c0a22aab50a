"""How much shorter than the stream is the memory?"""

from __future__ import annotations

from finemem_pipeline.rollouts import Rollout


def compression(rollout: Rollout) -> float:
    """r_comp = 1 − L(M_T) / Σ_t L(c_t), the share of the tokens read that the bank does not hold. May be negative."""
    return 1.0 - rollout.final_tokens / rollout.tokens_read
