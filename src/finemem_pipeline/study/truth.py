"""Which steps really caused the score: recorded operations replayed with steps left out, and all questions asked again.

Two truths, because each is blind to something. Leaving one step out finds no one guilty of what two steps did; the
Shapley value shares it between them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.episodes import Question
from finemem_pipeline.memory import MemoryBank, Skip
from finemem_pipeline.reasoning import ReasonerError
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.replay import last_bank
from finemem_pipeline.rollouts import Rollout

Array = NDArray[np.float64]
Steps = frozenset[int]


class Causes:
    """r_global of a rollout from any part of its steps; each part is asked about once."""

    def __init__(self, rollout: Rollout, questions: Sequence[Question], reader: Reader) -> None:
        self.rollout = rollout
        self.questions = tuple(questions)
        self.reader = reader
        self.steps = len(rollout.steps)
        self._worth: dict[Steps, float] = {}

    def left_out(self) -> Array:
        """C_t = r_global(all steps) − r_global(all but t) (T,): T + 1 replays."""
        everything = frozenset(range(self.steps))
        self._ask([everything, *(everything - {t} for t in range(self.steps))])
        return np.array([self._worth[everything] - self._worth[everything - {t}] for t in range(self.steps)])

    def shapley(self, orders: int, seed: int = 0) -> Array:
        """The mean of r_global(before t, and t) − r_global(before t) over sampled orders of the steps (T,).

        Orders come in pairs, each with its reverse, which halves much of the sampling error. It adds up to
        r_global(all) − r_global(nothing) however few orders are drawn: T replays each, shared parts once.
        """
        chance = random.Random(f"shapley {seed} {self.rollout.episode_id} {self.rollout.sibling}")
        drawn: list[list[int]] = []
        while len(drawn) < orders:
            order = chance.sample(range(self.steps), self.steps)
            drawn += [order, order[::-1]]
        drawn = drawn[:orders]
        self._ask(frozenset(order[:length]) for order in drawn for length in range(self.steps + 1))
        value = np.zeros(self.steps)
        for order in drawn:
            for place, t in enumerate(order):
                value[t] += self._worth[frozenset(order[: place + 1])] - self._worth[frozenset(order[:place])]
        return value / len(drawn)

    def _ask(self, parts: Iterable[Steps]) -> None:
        """Finds r_global of the parts that are not known yet, all of them in one batch.

        Raises ReasonerError if an answer failed: a truth with holes would be none.
        """
        missing = [part for part in dict.fromkeys(parts) if part not in self._worth]
        if not missing:
            return
        writing = {
            step.step
            for step in self.rollout.steps
            if any(not isinstance(done.operation, Skip) for done in step.operations)
        }
        banks: dict[Steps, MemoryBank] = {}  # steps that wrote nothing make no other bank
        for part in missing:
            if part & writing not in banks:
                banks[part & writing] = last_bank(self.rollout, part & writing)
        answers = self.reader.answer([(question, bank) for bank in banks.values() for question in self.questions])
        failed = next((answer for answer in answers if answer.score is None), None)
        if failed is not None:
            raise ReasonerError(
                f"{self.rollout.episode_id}: question {failed.question_id} failed: {failed.failure}. What caused the "
                "score cannot be told without it; run again to have it asked again."
            )
        scores = np.array([answer.score for answer in answers], dtype=np.float64).reshape(len(banks), -1)
        found = dict(zip(banks, scores.mean(axis=1), strict=True))
        for part in missing:
            self._worth[part] = float(found[part & writing])
