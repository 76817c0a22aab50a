"""Scripted managers of known habits: what a scheme should tell apart.

They know the questions, as the teacher of the warm start does, and are noisy where a real manager is. What they do at a
step follows from seed, stream and step alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.sentences import sentences
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.memory import Delete, Insert, Operation, Skip, Update, format_operations
from finemem_pipeline.rollouts import Completion

Habit = Callable[[Observation, random.Random], list[Operation]]
"""(what is seen, chance) -> operations."""

LAPSE = 0.5
"""How often a habit gets the better of a manager: its chance at every fact, or at every step."""

_teacher = Teacher()


def faithful(seen: Observation, _: random.Random) -> list[Operation]:
    """Writes every fact, a sentence to an item, and updates what became stale."""
    return _teacher.operations(seen)


def hoarder(seen: Observation, _: random.Random) -> list[Operation]:
    """Writes every sentence, facts and small talk alike, and never touches an item again."""
    return [Insert(sentence) for sentence in sentences(seen.chunk.text)]


def copier(seen: Observation, _: random.Random) -> list[Operation]:
    """Keeps the chunk as one item."""
    return [Insert(seen.chunk.text)]


def forgetful(seen: Observation, chance: random.Random) -> list[Operation]:
    """Faithful, but misses facts."""
    return [operation for operation in _teacher.operations(seen) if chance.random() >= LAPSE]


def overwriter(seen: Observation, chance: random.Random) -> list[Operation]:
    """Faithful, but writes new facts over items that say something else."""
    operations: list[Operation] = []
    old = [item.id for item in seen.bank.items]
    for operation in _teacher.operations(seen):
        if isinstance(operation, Insert) and old and chance.random() < LAPSE:
            operations.append(Update(old.pop(chance.randrange(len(old))), operation.text))
        else:
            operations.append(operation)
    return operations


def deleter(seen: Observation, chance: random.Random) -> list[Operation]:
    """Faithful, but throws items away that somebody will ask for."""
    operations = _teacher.operations(seen)
    if seen.bank.items and chance.random() < LAPSE:
        operations = [Delete(chance.choice(seen.bank.items).id), *operations]
    return operations


HABITS: dict[str, Habit] = {
    "faithful": faithful,
    "hoarder": hoarder,
    "forgetful": forgetful,
    "overwriter": overwriter,
    "copier": copier,
    "deleter": deleter,
}


class Scripted:
    """A Manager that follows a habit."""

    def __init__(self, habit: str, seed: int = 0) -> None:
        self.habit = habit
        self.seed = seed

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        return [Turn(Completion(format_operations(self._operations(each)))) for each in observations]

    def _operations(self, seen: Observation) -> list[Operation]:
        chance = random.Random(f"{self.habit} {self.seed} {seen.episode.id} {seen.chunk.index}")
        return HABITS[self.habit](seen, chance) or [Skip()]
