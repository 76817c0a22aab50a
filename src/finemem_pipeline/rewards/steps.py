"""Rewards that are a mean of answers at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from finemem_pipeline.rollouts import Answer, Rollout, StepRecord

StepReward = np.ma.MaskedArray[tuple[int], np.dtype[np.float64]]
"""(T,) A masked entry: there is no such term at that step. NaN: there is one, but an answer to it failed."""


def step_means(rollout: Rollout, asked: Callable[[StepRecord], Sequence[Answer]]) -> StepReward:
    """The mean score of the answers `asked` picks at every step (T,).

    One failed answer makes the step NaN: siblings are compared on the same questions, and a mean over those that
    happened to be scored would compare them on easier or harder ones.
    """
    answers = [asked(step) for step in rollout.steps]
    return np.ma.MaskedArray([_mean(at) for at in answers], mask=[not at for at in answers], dtype=np.float64)


def probed(name: str) -> Callable[[StepRecord], Sequence[Answer]]:
    """Picks the answers of a probe. The picker raises ValueError at a step for which they were not collected."""

    def pick(step: StepRecord) -> Sequence[Answer]:
        if name not in step.probes:
            raise ValueError(
                f"step {step.step} was not probed for '{name}': reasoning.probes collects these answers, and has to "
                "before rewards are computed"
            )
        return step.probes[name]

    return pick


def _mean(answers: Sequence[Answer]) -> float:
    scores = [answer.score for answer in answers if answer.score is not None]
    return sum(scores) / len(scores) if scores and len(scores) == len(answers) else float("nan")
