"""Which sibling did better at the same step.

Rewards and advantages are arrays (G, T): G siblings, T steps of the same stream. NaN is a reward that is missing
because an answer failed; it is left out and never read as 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def group_advantages(rewards: ArrayLike, eps: float = 1e-4) -> NDArray[np.float64]:
    """A_{g,t} = (r_{g,t} − mean_g r_{·,t}) / (std_g r_{·,t} + ε), unbiased std (G, T).

    NaN in: left out of mean and std, 0 out. A column with fewer than two scored siblings, or with equal rewards, is 0
    everywhere. Raises ValueError for a single sibling, which has nobody to be compared with.
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.ndim != 2:
        raise ValueError(f"rewards must be (G, T), found an array of shape {rewards.shape}")
    if len(rewards) < 2:
        raise ValueError(f"same-step advantages compare siblings: G must be at least 2, found {len(rewards)}")
    if np.isinf(rewards).any():
        raise ValueError("rewards must be finite, or NaN where they are missing")
    advantages = np.zeros_like(rewards)
    for t in np.flatnonzero(live_columns(rewards)):
        scored = ~np.isnan(rewards[:, t])
        column = rewards[scored, t]
        advantages[scored, t] = (column - column.mean()) / (column.std(ddof=1) + eps)
    return advantages


ALIKE = 1e-12
"""Rewards closer than this are equal but for the order in which they were added up."""


def live_columns(rewards: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The steps (T,) at which at least two siblings are scored and not all of them alike; the others are dead."""
    lowest = np.where(np.isnan(rewards), np.inf, rewards).min(axis=0, initial=np.inf)
    highest = np.where(np.isnan(rewards), -np.inf, rewards).max(axis=0, initial=-np.inf)
    return highest - lowest > ALIKE


def count_dead(rewards: NDArray[np.float64]) -> int:
    """How many steps carry no signal."""
    return int((~live_columns(rewards)).sum())


def count_excluded(rewards: NDArray[np.float64]) -> int:
    """How many siblings are left out of a step's comparison, summed over the steps."""
    return int(np.isnan(rewards).sum())
