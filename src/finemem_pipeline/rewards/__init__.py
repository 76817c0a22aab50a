"""What a rollout is worth: small pure functions of the record, composed by variants that are data."""

from finemem_pipeline.rewards.compose import GroupScore, RewardBreakdown, score_group, score_rollout, variance_shares
from finemem_pipeline.rewards.table import NEEDS, OF_CHUNKS, PER_ROLLOUT, REWARDS, Reward
from finemem_pipeline.rewards.variants import Spread, Term, Variant, VariantError, variant

__all__ = [
    "NEEDS",
    "OF_CHUNKS",
    "PER_ROLLOUT",
    "REWARDS",
    "GroupScore",
    "Reward",
    "RewardBreakdown",
    "Spread",
    "Term",
    "Variant",
    "VariantError",
    "score_group",
    "score_rollout",
    "variance_shares",
    "variant",
]
