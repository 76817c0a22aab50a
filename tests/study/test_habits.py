from __future__ import annotations

import pytest

from finemem_pipeline.manager.play import play
from finemem_pipeline.memory import Delete, Insert, Skip, Update
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.rollouts import Rollout
from finemem_pipeline.study.families import streams
from finemem_pipeline.study.habits import HABITS, Scripted


def played(habit: str, family: str = "corrections", seed: int = 0) -> Rollout:
    [episode] = streams(family, 8, seed=1)
    reader = Reader(BM25(), ExtractiveReasoner())
    [group] = play([episode], Scripted(habit, seed), reader, lambda text: len(text.split()), ask_chunks=False)
    return group.rollouts[0]


def kinds(rollout: Rollout) -> set[type]:
    return {type(done.operation) for step in rollout.steps for done in step.operations}


def score(rollout: Rollout) -> float:
    return sum(answer.score for answer in rollout.answers) / len(rollout.answers)


def test_each_manager_has_its_habit():
    assert kinds(played("faithful")) <= {Insert, Update, Skip}
    assert Update in kinds(played("faithful"))
    assert kinds(played("hoarder")) == {Insert}
    assert Delete in kinds(played("deleter"))
    copied = played("copier")
    assert [len(step.bank) for step in copied.steps] == list(range(1, 9))
    hoarded, kept = (len(played(habit, "distractors").steps[-1].bank) for habit in ("hoarder", "faithful"))
    assert hoarded > 3 * kept


@pytest.mark.parametrize("habit", ["forgetful", "overwriter", "deleter"])
def test_a_bad_habit_costs_what_the_faithful_manager_knows(habit: str):
    assert score(played(habit)) < score(played("faithful"))


@pytest.mark.parametrize("habit", HABITS)
def test_a_manager_does_the_same_for_the_same_seed(habit: str):
    assert played(habit) == played(habit)
    assert (played(habit, seed=1) == played(habit)) == (habit in {"faithful", "hoarder", "copier"})
