"""Which rollout did better, and than what.

Rewards and advantages are arrays (G, T): G siblings, T steps of the same stream. NaN is a reward that is missing
because an answer failed; it is left out and never read as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

EPS = 1e-4
"""ε under every division by a standard deviation, as TRL's."""

ALIKE = 1e-12
"""Rewards closer than this are equal but for the order in which they were added up."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What G siblings earned, as the functions of ADVANTAGES read it."""

    total: Array  # (G, T) r_t; NaN where a sibling is left out of a step
    terms: Mapping[str, Array]  # (G, T) unweighted; NaN: absent or failed
    weights: Mapping[str, float]

    def filled(self) -> Array:
        """r_t (G, T) with every missing term set to its mean: at that step, or over all where nobody has it there."""
        total = np.zeros_like(self.total)
        for name, weight in self.weights.items():
            if weight:
                total += weight * _with_means(self.terms[name])
        return total


@dataclass(slots=True)
class MovingBaseline:
    """What a step at position t has earned so far: moving averages over the groups seen before, one after the other."""

    decay: float = 0.9
    means: list[float | None] = field(default_factory=list)  # (T,) by position; None: never seen
    square: float = 1.0  # of the distance from them, over all positions

    def compare(self, rewards: Array) -> Array:
        """(r_{g,t} − b_t)/(σ + ε) (G, T), 0 at NaN and at positions seen first; then takes the rewards in."""
        steps = rewards.shape[1]
        self.means += [None] * (steps - len(self.means))
        base = np.array([np.nan if mean is None else mean for mean in self.means[:steps]])
        apart = rewards - base
        advantages = np.nan_to_num(apart / (self.square**0.5 + EPS))
        if not np.isnan(apart).all():
            self.square += (1 - self.decay) * (float(np.nanmean(apart**2)) - self.square)
        for t in np.flatnonzero(~np.isnan(rewards).all(axis=0)):
            new, old = float(np.nanmean(rewards[:, t])), self.means[t]
            self.means[t] = new if old is None else old + (1 - self.decay) * (new - old)
        return advantages


Advantage = Callable[[Scored, MovingBaseline], Array]
"""(what the siblings earned, the baseline of the run) -> (G, T), 0 where there is nothing to compare."""


def same_step(scored: Scored, _: MovingBaseline) -> Array:
    """The paper's: siblings at the same step are compared with each other. See `group_advantages`."""
    return group_advantages(scored.total)


def pooled(scored: Scored, _: MovingBaseline) -> Array:
    """(r_{g,t} − mean)/(std + ε) over all siblings and steps together (G, T).

    A missing term counts as its mean, and a sibling that is left out of a step stays out. 0 if all rewards are equal.
    Raises ValueError for a single sibling: its steps would be compared with each other alone.
    """
    rewards = _siblings(np.where(np.isnan(scored.total), np.nan, scored.filled()))
    known = rewards[~np.isnan(rewards)]
    if len(known) < 2 or known.max() - known.min() <= ALIKE:
        return np.zeros_like(rewards)
    return np.nan_to_num((rewards - known.mean()) / (known.std(ddof=1) + EPS))


def per_term(scored: Scored, _: MovingBaseline) -> Array:
    """Σ_i w_i·A_i (G, T), A_i the same-step advantages of term i by itself: no term drowns in the scale of another.

    Where a term is absent or equal among siblings it adds nothing.
    """
    advantages = np.zeros_like(scored.total)
    for name, weight in scored.weights.items():
        if weight:
            term = np.where(np.isnan(scored.total), np.nan, scored.terms[name])
            advantages += weight * group_advantages(term)
    return advantages


def return_to_go(scored: Scored, _: MovingBaseline) -> Array:
    """Same-step advantages of Σ_{u ≥ t} r_u (G, T): a step is paid for what it makes possible later.

    A missing term counts as its mean; a sibling that is left out of a step stays out of that step.
    """
    ahead = np.flip(np.flip(scored.filled(), axis=1).cumsum(axis=1), axis=1)
    return group_advantages(np.where(np.isnan(scored.total), np.nan, ahead))


def moving_average(scored: Scored, baseline: MovingBaseline) -> Array:
    """(r_{g,t} − b_t)/(σ + ε) (G, T), b_t what this position earned in groups seen before. Allows a single sibling."""
    return baseline.compare(_checked(scored.total))


ADVANTAGES: dict[str, Advantage] = {
    "same_step": same_step,
    "pooled": pooled,
    "per_term": per_term,
    "return_to_go": return_to_go,
    "moving_average": moving_average,
}

ALONE = ("moving_average",)
"""The advantages that need no sibling."""


def group_advantages(rewards: ArrayLike, eps: float = EPS) -> Array:
    """A_{g,t} = (r_{g,t} − mean_g r_{·,t}) / (std_g r_{·,t} + ε), unbiased std (G, T).

    NaN in: left out of mean and std, 0 out. A column with fewer than two scored siblings, or with equal rewards, is 0
    everywhere. Raises ValueError for a single sibling, which has nobody to be compared with.
    """
    rewards = _siblings(rewards)
    advantages = np.zeros_like(rewards)
    for t in np.flatnonzero(live_columns(rewards)):
        scored = ~np.isnan(rewards[:, t])
        column = rewards[scored, t]
        advantages[scored, t] = (column - column.mean()) / (column.std(ddof=1) + eps)
    return advantages


def live_columns(rewards: Array) -> NDArray[np.bool_]:
    """The steps (T,) at which at least two siblings are scored and not all of them alike; the others are dead."""
    lowest = np.where(np.isnan(rewards), np.inf, rewards).min(axis=0, initial=np.inf)
    highest = np.where(np.isnan(rewards), -np.inf, rewards).max(axis=0, initial=-np.inf)
    return highest - lowest > ALIKE


def count_dead(rewards: Array) -> int:
    """How many steps carry no signal."""
    return int((~live_columns(rewards)).sum())


def count_excluded(rewards: Array) -> int:
    """How many siblings are left out of a step's comparison, summed over the steps."""
    return int(np.isnan(rewards).sum())


def _checked(rewards: ArrayLike) -> Array:
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.ndim != 2:
        raise ValueError(f"rewards must be (G, T), found an array of shape {rewards.shape}")
    if np.isinf(rewards).any():
        raise ValueError("rewards must be finite, or NaN where they are missing")
    return rewards


def _siblings(rewards: ArrayLike) -> Array:
    rewards = _checked(rewards)
    if len(rewards) < 2:
        raise ValueError(f"these advantages compare siblings: G must be at least 2, found {len(rewards)}")
    return rewards


def _with_means(term: Array) -> Array:
    """The term with NaN replaced: by the mean of its column, or of all where the column has none."""
    known = ~np.isnan(term)
    if known.all():
        return term
    counts = known.sum(axis=0)
    sums = np.where(known, term, 0.0).sum(axis=0)
    overall = sums.sum() / counts.sum() if counts.any() else 0.0  # nobody has it: the same for all, whatever it is
    means = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
    return np.where(known, term, means)
