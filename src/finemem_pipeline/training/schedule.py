"""Which streams are played at which update, and which of their questions are asked: pure functions of the seed.

A longer run begins exactly like a shorter one, so raising training.steps continues a run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np

from finemem_pipeline.episodes import Episode, Question


def episode_order(count: int, length: int, seed: int) -> list[int]:
    """`length` indices into `count` episodes: one shuffled pass after the other."""
    if count < 1:
        raise ValueError("there is no stream to train on")
    order: list[int] = []
    for epoch in range(math.ceil(length / count)):
        order.extend(int(i) for i in np.random.default_rng([seed, epoch]).permutation(count))
    return order[:length]


def by_turns(episodes: Sequence[Episode], seed: int) -> list[Episode]:
    """All episodes, shuffled, their sources taking turns: a few from the front show every source."""
    waiting: dict[str, list[Episode]] = {}
    for i in np.random.default_rng(seed).permutation(len(episodes)):
        waiting.setdefault(episodes[i].source, []).append(episodes[i])
    rounds = zip_longest(*(waiting[source] for source in sorted(waiting)))
    return [episode for turn in rounds for episode in turn if episode is not None]


def question_subset(share: float, floor: int, seed: int, step: int) -> Callable[[Episode], tuple[Question, ...]]:
    """Draws ⌈share·N⌉ final questions of an episode, at least `floor` or all, in their own order."""

    def draw(episode: Episode) -> tuple[Question, ...]:
        questions = episode.questions
        wanted = min(len(questions), max(floor, math.ceil(share * len(questions))))
        # The digest of the id, not its hash: Python salts those anew in every process.
        salt = int.from_bytes(hashlib.sha256(episode.id.encode()).digest()[:8], "big")
        chosen = np.random.default_rng([seed, step, salt]).choice(len(questions), wanted, replace=False)
        return tuple(questions[i] for i in sorted(int(c) for c in chosen))

    return draw


def reply_seed(seed: int, update: int, place: int, sibling: int, step: int) -> int:
    """What one reply is drawn by: the same whatever process plays it, and with whom."""
    salt = hashlib.sha256(json.dumps([seed, update, place, sibling, step]).encode()).digest()
    return int.from_bytes(salt[:6], "big")


def longest(episodes: Sequence[Episode]) -> int:
    """T of the longest stream: the rows of a training batch are laid out for it."""
    return max(episode.steps for episode in episodes)
