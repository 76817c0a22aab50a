"""From played groups to training rows: one row is one step of one rollout.

Row order, with E episodes laid out for T steps: row = (e·T + t)·G + g, so that G consecutive rows are the siblings
of one step. Streams shorter than T are filled up with rows that carry no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finemem_pipeline.rollouts import RolloutGroup


@dataclass(frozen=True, slots=True)
class StepSample:
    """One training row."""

    prompt_ids: tuple[int, ...]  # (P,)
    completion_ids: tuple[int, ...]  # (L,)
    logprobs: tuple[float, ...]  # (L,) as sampled, or empty
    advantage: float
    key: tuple[str, int, int]  # episode id, sibling, step
    filler: bool = False  # stands in for a step that the stream does not have


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One row of the warm start: what the teacher replied."""

    prompt_ids: tuple[int, ...]  # (P,)
    completion_ids: tuple[int, ...]  # (L,)


def step_samples(
    groups: Sequence[RolloutGroup], advantages: Sequence[np.ndarray], steps: int, filler_id: int
) -> list[StepSample]:
    """E·T·G rows in the order above. `advantages[e]` is the (G, T_e) array of group e."""
    rows: list[StepSample] = []
    for group, advantage in zip(groups, advantages, strict=True):
        siblings = len(group.rollouts)
        for t in range(steps):
            for g in range(siblings):
                rollout = group.rollouts[g]
                key = (group.episode_id, g, t)
                if t >= len(rollout.steps):
                    rows.append(StepSample((filler_id,), (filler_id,), (), 0.0, key, filler=True))
                    continue
                said = rollout.steps[t].completion
                rows.append(
                    StepSample(said.prompt_ids, said.completion_ids, said.logprobs, float(advantage[g, t]), key)
                )
    return rows
