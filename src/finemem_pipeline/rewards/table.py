"""The rewards by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.rewards.chunk import chunk
from finemem_pipeline.rewards.compression import compression
from finemem_pipeline.rewards.format import format_validity
from finemem_pipeline.rewards.outcome import outcome
from finemem_pipeline.rollouts import Rollout

Reward = Callable[[Rollout], "float | NDArray[np.float64]"]
"""A float for the rollout, or (T,). NaN: an answer to it failed. Masked: there is no such term (`rewards.steps`)."""

REWARDS: dict[str, Reward] = {
    "outcome": outcome,
    "chunk": chunk,
    "format": format_validity,
    "compression": compression,
}

PER_ROLLOUT = ("outcome", "compression")  # one float, which a spread may share over the steps
