"""Did the reply say what it meant?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.memory import Skip
from finemem_pipeline.rollouts import Rollout, StepRecord


def format_validity(rollout: Rollout) -> NDArray[np.float64]:
    """r_fmt(t), the share of the emitted fragments that parse, fit the schema and apply (T,).

    SKIP alone is 1; beside anything else it does not count. Refused operations count against, and a reply in which
    nothing could be parsed is 0.
    """
    return np.array([_validity(step) for step in rollout.steps], dtype=np.float64)


def _validity(step: StepRecord) -> float:
    changes = [applied for applied in step.operations if not isinstance(applied.operation, Skip)]
    fragments = len(changes) + len(step.malformed)
    if not fragments:
        return 1.0 if step.operations else 0.0
    return sum(applied.refused is None for applied in changes) / fragments
