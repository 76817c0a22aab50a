from __future__ import annotations

import itertools

import numpy as np
import pytest

from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.manager import Turn
from finemem_pipeline.manager.play import play
from finemem_pipeline.memory import Delete, Insert, Operation, Skip, format_operations
from finemem_pipeline.reasoning import Asked, ReasonerError, Reply
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reasoning.scripted import ScriptedReasoner
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.rollouts import Completion
from finemem_pipeline.study.truth import Causes

QUESTIONS = (
    Question("q1", "Where does Ada live?", ("Mill Lane",)),
    Question("q2", "What is Bruno's code?", ("4711",)),
)


def causes(*replies: list[Operation], reader: Reader | None = None) -> Causes:
    episode = Episode("e", "s", "AR", tuple(Chunk(t, f"chunk {t}") for t in range(len(replies))), QUESTIONS)

    class Script:
        def act(self, observations):
            return [Turn(Completion(format_operations(replies[each.chunk.index]))) for each in observations]

    reader = reader or Reader(BM25(), ExtractiveReasoner(), cache=AnswerCache(None))
    [group] = play([episode], Script(), reader, len, ask_chunks=False)
    return Causes(group.rollouts[0], QUESTIONS, reader)


ADA, BRUNO = Insert("Ada lives in Mill Lane."), Insert("Bruno's code is 4711.")


def test_a_step_caused_what_is_lost_without_it():
    assert causes([ADA], [Skip()], [BRUNO]).left_out().tolist() == [0.5, 0.0, 0.5]


def test_two_steps_that_say_the_same_are_not_missed_alone_but_share_the_shapley_value():
    found = causes([ADA], [ADA], [Skip()])
    assert found.left_out().tolist() == [0.0, 0.0, 0.0]
    assert found.shapley(orders=2).tolist() == [0.25, 0.25, 0.0]


def test_a_step_that_destroys_has_a_negative_truth():
    found = causes([ADA], [BRUNO], [Delete("m1")])
    assert found.left_out().tolist() == [0.0, 0.5, -0.5]


@pytest.mark.parametrize("orders", [1, 2, 5])
def test_shapley_values_add_up_to_the_whole_however_few_orders_are_drawn(orders: int):
    found = causes([ADA, BRUNO], [Delete("m1")], [ADA], [Skip()])
    assert found.shapley(orders).sum() == pytest.approx(1.0)


def test_sampled_shapley_values_are_the_exact_ones_when_all_orders_are_taken():
    found = causes([ADA], [ADA], [BRUNO])
    exact = np.zeros(3)
    for order in itertools.permutations(range(3)):
        for place, t in enumerate(order):
            before, after = frozenset(order[:place]), frozenset(order[: place + 1])
            found._ask([before, after])
            exact[t] += (found._worth[after] - found._worth[before]) / 6
    assert exact.tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert np.abs(found.shapley(orders=400) - exact).max() < 0.03


def test_a_part_of_the_steps_is_asked_about_once():
    asked: list[Asked] = []

    def reply(one: Asked) -> Reply:
        asked.append(one)
        return Reply(" ".join(one.texts))

    found = causes([ADA], [Skip()], [BRUNO], reader=Reader(BM25(), ScriptedReasoner(reply)))
    asked.clear()
    found.left_out()
    # all, all but 0, all but 2; all but 1 is all, since step 1 wrote nothing
    assert len(asked) <= 3 * len(QUESTIONS)
    asked.clear()
    found.left_out()
    assert asked == []


def test_a_failed_answer_makes_no_truth():
    broken = Reader(BM25(), ScriptedReasoner(lambda one: Reply("", failure="refused")), max_unscored_share=1.0)
    with pytest.raises(ReasonerError, match="question q1 failed: refused"):
        causes([ADA], [BRUNO], reader=broken).left_out()
