"""The rewards by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.rewards.chunk import BEFORE, NO_MEMORY, OLDER, chunk, delta_chunk, qa_gain, retention
from finemem_pipeline.rewards.compression import compression, step_compression
from finemem_pipeline.rewards.format import format_validity
from finemem_pipeline.rewards.outcome import outcome
from finemem_pipeline.rollouts import Rollout

Reward = Callable[[Rollout], "float | NDArray[np.float64]"]
"""A float for the rollout, or (T,). NaN: an answer to it failed. Masked: there is no such term (`rewards.steps`)."""

REWARDS: dict[str, Reward] = {
    "outcome": outcome,
    "chunk": chunk,
    "delta_chunk": delta_chunk,
    "retention": retention,
    "qa_gain": qa_gain,
    "format": format_validity,
    "compression": compression,
    "step_compression": step_compression,
}

NEEDS: dict[str, str] = {"delta_chunk": BEFORE, "retention": OLDER, "qa_gain": NO_MEMORY}
"""The probe that a reward reads, by the reward's name; the others read what every rollout has."""

PER_ROLLOUT = ("outcome", "compression")  # one float, which a spread may share over the steps

OF_CHUNKS = ("chunk", "delta_chunk", "retention", "qa_gain")  # absent at every step of a stream without chunk questions
