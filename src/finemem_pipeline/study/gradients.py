"""How much of a policy's gradient is signal, under each variant, at a policy that stands still.

The same groups are scored by every variant, so variants are compared group by group. One group gives one estimate
g (P,) of the variant's gradient μ = E g, by `learning.policy_gradient`. From n independent estimates, without the bias
that the square of a mean of few has,

    |μ|² ≈ Σ_{i≠j} g_i·g_j / (n·(n−1)),    tr Σ ≈ Σ_i |g_i|²/n − |μ|²,    SNR = |μ|² / tr Σ

so an SNR of nothing may come out below 0. 1/SNR is the number of groups whose mean is as much signal as noise. The
direction is compared with ∇ E[r_global], estimated from groups of its own with A_g = r_g − the mean of its siblings':
cos = μ·τ / (|μ|·|τ|), with both lengths as above, hence not shortened by noise; it may come out above 1.
A resample draws groups with replacement; a group is never paired with itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit import MovingBaseline
from finemem_pipeline.rewards import GroupScore, Variant, score_group, variance_shares
from finemem_pipeline.rollouts import RolloutGroup
from finemem_pipeline.study.learning import (
    Exam,
    Practice,
    fresh_streams,
    make_reader,
    policy_gradient,
    practise,
    train,
)
from finemem_pipeline.study.ledger import Row
from finemem_pipeline.study.policy import SentencePolicy
from finemem_pipeline.study.summary import LEVEL, RESAMPLES

Array = NDArray[np.float64]

WARM = 30
"""Groups that a moving baseline has seen before it is measured; their gradients are not counted."""

MEASURED, TRUE = 2_000_003, 3_000_017
"""Added to the seed for the streams of the estimates and of the truth: none was trained on, and they share no noise."""

HALF = 0.5
"""A policy is half trained when it scores this share of what can be attained."""


def half_trained(variant: Variant, steps: int, seed: int, practice: Practice) -> Array | None:
    """The weights (P,) of the first policy of a run that is half trained; None if the run has none."""
    exam = Exam(steps, practice)
    for policy, _ in train(variant, steps, seed, practice):
        if exam.sit(policy.weights)["score"] >= HALF * exam.attainable:
            return policy.weights
    return None


def gradient_noise(
    variants: Mapping[str, Variant],
    weights: Array,
    steps: int,
    seed: int,
    practice: Practice,
    *,
    groups: int = 200,
    truth_groups: int = 800,
) -> list[Row]:
    """One row per variant: variance tr Σ, SNR and cosine to the true gradient, with bootstrap intervals; and each
    reward's share of the same-step variance, as `rewards.variance_shares` has it.

    Each group stands on a stream of its own, as do the groups of the truth.
    """
    true = true_gradients(weights, steps, seed, practice, truth_groups)
    return [
        {"variant": name, "steps": steps, "seed": seed, "groups": groups, "truth_groups": truth_groups}
        | signal(estimates, true)
        | {"shares": shares}
        for name, (estimates, shares) in variant_gradients(variants, weights, steps, seed, practice, groups).items()
    ]


def variant_gradients(
    variants: Mapping[str, Variant], weights: Array, steps: int, seed: int, practice: Practice, groups: int
) -> dict[str, tuple[Array, dict[str, float]]]:
    """For each variant its gradients (groups, P) and the rewards' shares of the variance, all from the same groups."""
    policy = SentencePolicy(weights, [seed, steps, 1])
    baselines = {name: MovingBaseline() for name in variants}
    found: dict[str, list[Array]] = {name: [] for name in variants}
    scores: dict[str, list[GroupScore]] = {name: [] for name in variants}
    for count, episode in enumerate(fresh_streams(practice, steps, MEASURED + seed, WARM + groups)):
        [group] = practise(policy, [episode], make_reader(practice), variants.values(), practice)
        for name, variant in variants.items():
            if count < WARM:
                score_group(group, variant, baselines[name])
                continue
            # A copy, so that no group's estimate depends on another's.
            scored = score_group(group, variant, deepcopy(baselines[name]))
            scores[name].append(scored)
            found[name].append(policy_gradient(weights, episode, group, scored.advantages))
    return {name: (np.stack(found[name]), variance_shares(scores[name])) for name in variants}


def true_gradients(weights: Array, steps: int, seed: int, practice: Practice, groups: int) -> Array:
    """Unbiased estimates (groups, P) of ∇ E[r_global], but for a factor 1/T that is the same for all."""
    policy = SentencePolicy(weights, [seed, steps, 2])
    found = []
    for episode in fresh_streams(practice, steps, TRUE + seed, groups):
        [group] = practise(policy, [episode], make_reader(practice), [], practice)
        found.append(policy_gradient(weights, episode, group, _outcome_advantages(group)))
    return np.stack(found)


def signal(estimates: Array, true: Array) -> Row:
    """Variance, SNR and cosine of a variant's estimates (n, P), beside those of the true gradient (m, P)."""
    sampled = np.random.default_rng(0)
    ours, theirs = _draws(len(estimates), sampled), _draws(len(true), sampled)
    mean, square, noise = _moments(estimates, ours)
    true_mean, true_square, _ = _moments(true, theirs)
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = square / noise
        cosine = (mean * true_mean).sum(axis=1) / np.sqrt(square * true_square)
    cosine[(square <= 0) | (true_square <= 0)] = np.nan
    return {"variance": _with_interval(noise), "snr": _with_interval(snr), "cosine": _with_interval(cosine)}


def _outcome_advantages(group: RolloutGroup) -> Array:
    """r_g − the mean of r over its siblings, at every step (G, T)."""
    scores = [[answer.score for answer in rollout.answers if answer.score is not None] for rollout in group.rollouts]
    earned = np.array([np.mean(own) for own in scores])
    apart = (earned - earned.mean()) * len(earned) / (len(earned) - 1)
    return np.repeat(apart[:, None], len(group.rollouts[0].steps), axis=1)


def _draws(count: int, sampled: np.random.Generator) -> Array:
    """(1 + RESAMPLES, count) how often each estimate is drawn: once each, then at random."""
    drawn = sampled.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, count)), drawn])


def _moments(estimates: Array, draws: Array) -> tuple[Array, Array, Array]:
    """Of every draw (B,): the mean (B, P), |μ|² and tr Σ."""
    count = len(estimates)
    lengths = (estimates**2).sum(axis=1)
    sums = draws @ estimates
    pairs = (sums**2).sum(axis=1) - draws**2 @ lengths
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of one estimate alone has no pairs
        square = pairs / (count**2 - (draws**2).sum(axis=1))
    return sums / count, square, draws @ lengths / count - square


def _with_interval(drawn: Array) -> Row:
    """The first value, and the interval of the others; None where more than a few of them are not defined."""
    value, others = float(drawn[0]), drawn[1:]
    found: Row = {"value": value if np.isfinite(value) else None, "low": None, "high": None}
    defined = others[np.isfinite(others)]
    if len(defined) >= LEVEL * len(others):
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found |= {"low": float(low), "high": float(high)}
    return found
