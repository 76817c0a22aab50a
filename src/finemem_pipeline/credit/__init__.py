"""Who gets the credit: schemes that share the final score over the steps, and advantages among siblings.

A scheme is a function of a Rollout, so that it may read the answers, their evidence, what they cite, and the probes.
It returns (T,) and, but for tombstone, adds up to the mean score of the final answers; unscored answers are left out.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit.advantages import (
    ADVANTAGES,
    ALONE,
    MovingBaseline,
    Scored,
    count_dead,
    count_excluded,
    group_advantages,
    live_columns,
)
from finemem_pipeline.credit.cited import cited
from finemem_pipeline.credit.leave_one_out import WITHOUT_ONE, leave_one_out
from finemem_pipeline.credit.lineage import lineage
from finemem_pipeline.credit.rank_weighted import rank_weighted
from finemem_pipeline.credit.retrieved import retrieved, spread_by_evidence
from finemem_pipeline.credit.shapley import SUBSETS, shapley
from finemem_pipeline.credit.sharing import spread_by_weights
from finemem_pipeline.credit.tombstone import TOMBSTONES, tombstone
from finemem_pipeline.credit.uniform import spread_evenly, uniform
from finemem_pipeline.rollouts import Rollout

Scheme = Callable[[Rollout], NDArray[np.float64]]

SCHEMES: dict[str, Scheme] = {
    "uniform": uniform,
    "retrieved": retrieved,
    "cited": cited,
    "rank_weighted": rank_weighted,
    "leave_one_out": leave_one_out,
    "shapley": shapley,
    "lineage": lineage,
    "tombstone": tombstone,
}

NEEDS: dict[str, str] = {"leave_one_out": WITHOUT_ONE, "shapley": SUBSETS, "tombstone": TOMBSTONES}
"""The probe that a scheme reads, by the scheme's name; the others read what every rollout has."""

__all__ = [
    "ADVANTAGES",
    "ALONE",
    "NEEDS",
    "SCHEMES",
    "MovingBaseline",
    "Scheme",
    "Scored",
    "cited",
    "count_dead",
    "count_excluded",
    "group_advantages",
    "leave_one_out",
    "lineage",
    "live_columns",
    "rank_weighted",
    "retrieved",
    "shapley",
    "spread_by_evidence",
    "spread_by_weights",
    "spread_evenly",
    "tombstone",
    "uniform",
]
