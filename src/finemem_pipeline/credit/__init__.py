"""Who gets the credit: schemes that share the final score over the steps, and advantages among siblings.

A scheme is a function of a Rollout, so that it may read the answers, their evidence, what they cite, and the probes
of the steps. It returns (T,) and adds up to the mean score of the final answers; unscored answers are left out.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit.advantages import count_dead, count_excluded, group_advantages, live_columns
from finemem_pipeline.credit.retrieved import retrieved, spread_by_evidence
from finemem_pipeline.credit.uniform import spread_evenly, uniform
from finemem_pipeline.rollouts import Rollout

Scheme = Callable[[Rollout], NDArray[np.float64]]

SCHEMES: dict[str, Scheme] = {"uniform": uniform, "retrieved": retrieved}

__all__ = [
    "SCHEMES",
    "Scheme",
    "count_dead",
    "count_excluded",
    "group_advantages",
    "live_columns",
    "retrieved",
    "spread_by_evidence",
    "spread_evenly",
    "uniform",
]
