from __future__ import annotations

from dataclasses import replace

import pytest

from finemem_pipeline.episodes import Question
from finemem_pipeline.memory import Insert, MemoryBank
from finemem_pipeline.reasoning import Reply
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.judge import Verdict
from finemem_pipeline.reasoning.reader import Reader, Usage
from finemem_pipeline.reasoning.scripted import ScriptedJudge
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.training.paid import Paid


class Counting:
    """A reasoner that says how often it was asked."""

    identity = "counting"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, asked):
        self.asked += [one.question for one in asked]
        return [Reply(f"answer to {one.question}") for one in asked]


def question(text: str) -> Question:
    return Question(id=text, text=text, answers=("x",), metric="token_f1")


BANK = MemoryBank().apply(Insert("Maria has the key"), 0)[0]


class Updates:
    """A process that plays updates, each of them some questions, from a number of updates on."""

    def __init__(self, folder, step: int) -> None:
        self.reasoner = Counting()
        self.paid = Paid(folder / "paid.jsonl", step)
        cache = AnswerCache(folder / "answers.sqlite")
        self.reader = self.paid.around(Reader(BM25(), self.reasoner, cache=cache))

    def play(self, update: int, *texts: str) -> Usage:
        before = self.reader.usage
        self.paid.update = update
        self.reader.answer([(question(text), BANK) for text in texts])
        return self.reader.usage.since(before)


def test_an_update_that_is_played_again_counts_its_calls_again_and_pays_nothing(tmp_path):
    first = Updates(tmp_path, 0)
    usages = [first.play(1, "a", "b"), first.play(2, "b", "c", "c"), first.play(3, "a", "d")]
    again = Updates(tmp_path, 1)  # killed after update 3, with a checkpoint of update 1
    assert [again.play(2, "b", "c", "c"), again.play(3, "a", "d")] == usages[1:]
    assert usages[1] == Usage(questions=3, calls=1, hits=1, misses=2)
    assert again.reasoner.asked == []


def test_what_an_update_has_not_asked_before_the_kill_is_asked_afterwards(tmp_path):
    Updates(tmp_path, 0).play(1, "a")
    again = Updates(tmp_path, 0)
    assert again.play(1, "b", "a") == Usage(questions=2, calls=2, hits=0, misses=2)
    assert again.reasoner.asked == ["b"]
    assert again.play(2, "a", "b") == Usage(questions=2, calls=0, hits=2, misses=0)


def test_a_second_kill_changes_nothing(tmp_path):
    Updates(tmp_path, 0).play(1, "a")
    Updates(tmp_path, 0).play(1, "a")
    third = Updates(tmp_path, 0)
    assert third.play(1, "a") == Usage(questions=1, calls=1, hits=0, misses=1)
    assert third.reasoner.asked == []


def test_what_a_checkpoint_holds_is_paid_for(tmp_path):
    first = Updates(tmp_path, 0)
    first.play(1, "a")
    first.play(2, "b")
    first.paid.settle(1)
    again = Updates(tmp_path, 1)
    assert again.play(2, "a", "b") == Usage(questions=2, calls=1, hits=1, misses=1)


def test_answers_that_another_run_has_paid_for_are_hits(tmp_path):
    (tmp_path / "other").mkdir()
    other = Reader(BM25(), Counting(), cache=AnswerCache(tmp_path / "answers.sqlite"))
    other.answer([(question("a"), BANK)])
    assert Updates(tmp_path, 0).play(1, "a") == Usage(questions=1, calls=0, hits=1, misses=0)


def test_a_key_whose_answer_never_reached_the_cache_is_asked(tmp_path):
    first = Updates(tmp_path, 0)
    first.play(1, "a")
    (tmp_path / "answers.sqlite").unlink()
    again = Updates(tmp_path, 0)
    assert again.play(1, "a") == Usage(questions=1, calls=1, hits=0, misses=1)
    assert again.reasoner.asked == ["a"]


def test_a_row_cut_off_by_a_kill_is_left_out_and_the_next_one_stands_by_itself(tmp_path):
    first = Updates(tmp_path, 0)
    first.play(1, "a")
    with first.paid.path.open("a") as stream:
        stream.write('{"update": 1, "ke')
    again = Updates(tmp_path, 0)
    again.play(1, "b")
    assert len(Updates(tmp_path, 0).paid.owed) == 2


def test_what_a_judge_scores_is_scored_as_before(tmp_path):
    cache = AnswerCache(tmp_path / "answers.sqlite")
    reader = Reader(BM25(), Counting(), cache=cache, judge=ScriptedJudge(lambda case: Verdict(0.5)))
    around = Paid(tmp_path / "paid.jsonl", 0).around(reader)
    [answer] = around.answer([(replace(question("who has the key"), metric="judge"), BANK)])
    assert (answer.score, answer.failure) == (0.5, None)


@pytest.mark.parametrize("cache", [None, AnswerCache()])
def test_a_reader_that_keeps_nothing_on_disk_is_left_as_it_is(tmp_path, cache):
    reader = Reader(BM25(), Counting(), cache=cache)
    assert Paid(tmp_path / "paid.jsonl", 0).around(reader) is reader
