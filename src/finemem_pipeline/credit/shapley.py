"""A right answer is owed to each item as much as it adds, averaged over the orders in which items could come."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit.counterfactual import Worth, worth
from finemem_pipeline.credit.uniform import spread_evenly
from finemem_pipeline.rollouts import Answer, Rollout

SUBSETS = "subsets"
"""The probe: s_j(S) for every S ⊂ R_j, the empty one included: 2^k − 1 answers a question."""

MOST = 3
"""Items a question may bring back: the number of subsets doubles with each."""


def shapley(rollout: Rollout) -> NDArray[np.float64]:
    """Σ_j ψ_jm/N to φ(m), and s_j(∅)/(N·T) to every step (T,).

    ψ_jm = Σ_{S ⊆ R_j∖m} |S|!·(k−|S|−1)!/k! · (s_j(S ∪ m) − s_j(S)), k = |R_j|; it may be negative. Σ_m ψ_jm =
    s_j(R_j) − s_j(∅), so all of it adds up to the mean score. A question of which a counterfactual answer failed is
    shared evenly. Raises ValueError if no answer is scored, none was probed, or k > 3.
    """
    subsets = worth(rollout, SUBSETS)
    scored = [answer for answer in rollout.answers if answer.score is not None]
    if not scored:
        raise ValueError(f"no answer of rollout {rollout.episode_id}/{rollout.sibling} is scored: nothing to share")
    credit = np.zeros(len(rollout.steps))
    for answer in scored:
        value = _values(answer, subsets)
        shown = [item.id for item in answer.evidence]
        if value is None:
            credit += spread_evenly(answer.score or 0.0, len(credit))
            continue
        credit += spread_evenly(value[frozenset()], len(credit))
        for item in answer.evidence:
            credit[item.writes[-1]] += _mean_marginal(item.id, shown, value)
    return credit / len(scored)


def _values(answer: Answer, subsets: Worth) -> dict[frozenset[str], float] | None:
    """The score from every subset of what was retrieved; None if one of them failed."""
    shown = [item.id for item in answer.evidence]
    if len(shown) > MOST:
        raise ValueError(f"question {answer.question_id} brought back {len(shown)} items, shapley takes {MOST} at most")
    value: dict[frozenset[str], float] = {}
    for size in range(len(shown) + 1):
        for some in map(frozenset, combinations(shown, size)):
            score = answer.score if size == len(shown) else subsets[answer.question_id, some]
            if score is None:
                return None
            value[some] = score
    return value


def _mean_marginal(item: str, shown: list[str], value: dict[frozenset[str], float]) -> float:
    others = [other for other in shown if other != item]
    k = len(shown)
    return sum(
        factorial(size) * factorial(k - size - 1) / factorial(k) * (value[some | {item}] - value[some])
        for size in range(k)
        for some in map(frozenset, combinations(others, size))
    )
