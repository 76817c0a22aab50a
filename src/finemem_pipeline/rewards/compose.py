"""From records to rewards and advantages.

Departure from the one-line sum: a term may be absent (a chunk without questions) or failed (an answer without a
score). Absent terms are left out of r_t; a failed one makes r_t NaN, and the sibling is left out at that step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit import (
    ADVANTAGES,
    SCHEMES,
    MovingBaseline,
    Scored,
    count_excluded,
    live_columns,
    spread_evenly,
)
from finemem_pipeline.rewards.steps import StepReward
from finemem_pipeline.rewards.table import NEEDS, REWARDS
from finemem_pipeline.rewards.variants import Spread, Variant
from finemem_pipeline.rollouts import Rollout, RolloutGroup

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RewardBreakdown:
    """What one rollout earned, from every reward of REWARDS: weight 0 where the variant does not name it.

    A reward that reads probes is there only where the variant names it.
    """

    terms: Mapping[str, Array]  # (T,) each, spread but unweighted; NaN: absent or failed
    weights: Mapping[str, float]
    total: Array  # (T,) r_t; NaN where a term with a weight failed


@dataclass(frozen=True, slots=True, eq=False)
class GroupScore:
    """What G siblings earned, compared with each other."""

    breakdowns: tuple[RewardBreakdown, ...]  # (G,)
    rewards: Array  # (G, T) NaN where a sibling is left out; all NaN if the group was dropped
    advantages: Array  # (G, T) 0 where there is nothing to compare
    questions: tuple[str, ...]  # ids of the final questions that all siblings have scored: only these counted
    dropped: str | None  # why the whole group says nothing

    @property
    def dead_columns(self) -> int:
        """Steps at which every advantage is 0, since nobody is scored or all earned the same: they carry no signal."""
        return int((self.advantages == 0).all(axis=0).sum())

    @property
    def excluded(self) -> int:
        """Siblings left out of a step because an answer failed, summed over the steps."""
        return count_excluded(self.rewards)

    @property
    def variance_shares(self) -> dict[str, float]:
        """Each reward's share of the same-step variance of this group; see `variance_shares`."""
        return variance_shares([self])


def score_rollout(rollout: Rollout, variant: Variant) -> RewardBreakdown:
    """The terms and the total of one rollout. Final answers without a score are left out of the outcome."""
    terms: dict[str, Array] = {}
    weights: dict[str, float] = {}
    total = np.zeros(len(rollout.steps))
    for name, reward in REWARDS.items():
        named = variant.terms.get(name)
        if named is None and name in NEEDS:
            continue
        term = _per_step(reward(rollout), rollout, named.spread if named else None)
        weights[name] = named.weight if named else 0.0
        terms[name] = term.filled(np.nan)
        if weights[name]:
            total += weights[name] * term.filled(0.0)
    return RewardBreakdown(terms, weights, total)


def score_group(group: RolloutGroup, variant: Variant, baseline: MovingBaseline | None = None) -> GroupScore:
    """Rewards and advantages of G siblings, compared on the final questions that all of them have scored.

    If there are final questions but none that all have scored, the group is dropped: its breakdowns are those of each
    rollout by itself, its rewards NaN and its advantages 0. `baseline` is the run's own, for advantages that remember;
    it takes these rewards in. Raises ValueError for a single sibling, unless the variant's advantage allows one.
    """
    answered = [{a.question_id for a in rollout.answers if a.score is not None} for rollout in group.rollouts]
    asked = [a.question_id for rollout in group.rollouts for a in rollout.answers]
    common = tuple(q for q in dict.fromkeys(asked) if all(q in ids for ids in answered))
    dropped = "no final question is scored for every sibling" if asked and not common else None
    compared = set(asked if dropped else common)
    breakdowns = tuple(
        score_rollout(replace(r, answers=tuple(a for a in r.answers if a.question_id in compared)), variant)
        for r in group.rollouts
    )
    rewards = np.stack([breakdown.total for breakdown in breakdowns])
    if dropped:
        rewards = np.full_like(rewards, np.nan)
    scored = Scored(
        rewards,
        {name: np.stack([each.terms[name] for each in breakdowns]) for name in breakdowns[0].terms},
        breakdowns[0].weights,
    )
    advantages = ADVANTAGES[variant.advantage](scored, baseline or MovingBaseline())
    return GroupScore(breakdowns, rewards, advantages, common, dropped)


def variance_shares(groups: Iterable[GroupScore]) -> dict[str, float]:
    """share_i = Σ_t Cov_g(w_i·r_i,t ; r_t) / Σ_t Var_g(r_t), over the scored siblings of all steps of all groups.

    Says which reward steers. The shares of all rewards add up to 1; one may be negative, where a reward pulls against
    the others. Empty if no step of any group has a signal.
    """
    shares = dict.fromkeys(REWARDS, 0.0)
    variance = 0.0
    for group in groups:
        for t in np.flatnonzero(live_columns(group.rewards)):
            there = np.flatnonzero(~np.isnan(group.rewards[:, t]))
            apart = group.rewards[there, t] - group.rewards[there, t].mean()
            variance += float(apart @ apart) / (len(there) - 1)
            for name in REWARDS:
                parts = np.array([_weighted(group.breakdowns[g], name, int(t)) for g in there])
                shares[name] += float((parts - parts.mean()) @ apart) / (len(there) - 1)
    return {name: share / variance for name, share in shares.items()} if variance else {}


def _per_step(value: float | Array, rollout: Rollout, spread: Spread | None) -> StepReward:
    """A reward as (T,), masked where it is absent."""
    steps = len(rollout.steps)
    if isinstance(value, np.ndarray):
        return np.ma.MaskedArray(value, dtype=np.float64)
    if spread is None or np.isnan(value):
        return np.ma.MaskedArray(np.full(steps, value, dtype=np.float64))
    shared = spread_evenly(value, steps)
    if spread.scheme != "uniform":
        shared = (1 - spread.beta) * shared + spread.beta * SCHEMES[spread.scheme](rollout)
    return np.ma.MaskedArray(shared * steps if spread.scale == "T" else shared)


def _weighted(breakdown: RewardBreakdown, name: str, t: int) -> float:
    """What a term adds to r_t. Where r_t is a number, a NaN is a term that is absent or has no weight."""
    weight = breakdown.weights.get(name, 0.0)
    return 0.0 if not weight or np.isnan(breakdown.terms[name][t]) else weight * float(breakdown.terms[name][t])
