from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from finemem_pipeline.episodes import Question
from finemem_pipeline.memory import Insert, MemoryBank, MemoryItem
from finemem_pipeline.reasoning import Asked, ReasonerError, Reply
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.judge import Judged, Verdict
from finemem_pipeline.reasoning.reader import NO_JUDGE, Reader, Usage
from finemem_pipeline.reasoning.scripted import ScriptedJudge, ScriptedReasoner
from finemem_pipeline.retrieval import BM25


def bank(*texts: str) -> MemoryBank:
    found = MemoryBank()
    for step, text in enumerate(texts):
        found, _ = found.apply(Insert(text), step)
    return found


def question(text: str, answer: str = "x", identifier: str = "q", metric: str = "sub_em") -> Question:
    return Question(id=identifier, text=text, answers=(answer,), metric=metric)


KEYS = bank("Ann has the red key.", "Bob has the blue key.", "It rained.")
RED, BLUE = question("Who has the red key?", "Ann", "red"), question("Who has the blue key?", "Bob", "blue")


def echo(asked: Asked) -> Reply:
    """The best text, cited, or the failure that the question asks for."""
    if "fail" in asked.question:
        return Reply("", failure="timed out")
    return Reply(asked.texts[0], (0,)) if asked.texts else Reply("nothing")


def test_an_answer_has_its_evidence_scores_citations_and_score():
    (answer,) = Reader(BM25(), ExtractiveReasoner()).answer([(RED, KEYS)])
    assert answer.question_id == "red"
    assert answer.prediction == "Ann has the red key."
    assert [item.id for item in answer.evidence] == ["m1", "m2"]
    assert answer.evidence_scores[0] > answer.evidence_scores[1] > 0
    assert answer.cited == ("m1",)
    assert (answer.score, answer.failure) == (1.0, None)


def test_citations_are_places_in_the_retrieved_order():
    reader = Reader(BM25(), ScriptedReasoner(lambda asked: Reply("Bob", (0, 1))))
    assert reader.answer([(BLUE, KEYS)])[0].cited == ("m2", "m1")


def test_k_limits_the_evidence():
    (answer,) = Reader(BM25(), ExtractiveReasoner(), k=1).answer([(BLUE, KEYS)])
    assert [item.id for item in answer.evidence] == ["m2"]


def test_an_empty_memory_is_a_closed_book():
    reader = Reader(BM25(), ScriptedReasoner(echo))
    (answer,) = reader.answer([(question("Who?", "nothing"), MemoryBank())])
    assert (answer.prediction, answer.evidence, answer.score) == ("nothing", (), 1.0)


class CountingBM25(BM25):
    """Keeps the queries to every memory, by call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[list[str]]] = []

    def search_each(
        self, asked: Sequence[tuple[Sequence[str], Sequence[MemoryItem]]], k: int
    ) -> list[list[list[tuple[MemoryItem, float]]]]:
        self.calls.append([list(queries) for queries, _ in asked])
        return super().search_each(asked, k)


def test_each_memory_is_searched_once_in_one_call_and_answers_keep_their_order():
    retriever, other = CountingBM25(), bank("Cid has the red key.")
    reader = Reader(retriever, ExtractiveReasoner())
    answers = reader.answer([(RED, KEYS), (RED, other), (BLUE, KEYS), (BLUE, other), (RED, MemoryBank())])
    assert [answer.score for answer in answers] == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert retriever.calls == [[[RED.text, BLUE.text], [RED.text, BLUE.text]]]


def test_a_label_question_looks_for_its_item_alone():
    retriever = CountingBM25()
    asked = question("Query: play jazz\nWhich class number does this query get? Answer with the number only.", "22")
    Reader(retriever, ExtractiveReasoner()).answer([(asked, bank("play music -> 22"))])
    assert retriever.calls == [[["play jazz"]]]


def test_equal_questions_are_asked_once_in_one_call_and_scored_each_by_its_own_references():
    reasoner = ScriptedReasoner(echo)
    reader = Reader(BM25(), reasoner)
    twin = bank(
        "Ann has the red key.", "Bob has the blue key.", "It snowed."
    )  # another memory, the same retrieved texts
    answers = reader.answer([(RED, KEYS), (RED, twin), (question(RED.text, "Zoe"), KEYS)])
    assert [answer.score for answer in answers] == [1.0, 1.0, 0.0]
    assert len(reasoner.asked) == 1
    assert reader.usage == Usage(questions=3, calls=1, hits=0, misses=3)


def test_an_answer_in_the_cache_is_not_asked_again(tmp_path: Path):
    first = Reader(BM25(), ScriptedReasoner(echo), cache=AnswerCache(tmp_path / "a"))
    before = first.answer([(RED, KEYS), (BLUE, KEYS)])
    again = Reader(BM25(), ScriptedReasoner(echo), cache=AnswerCache(tmp_path / "a"))
    assert again.answer([(BLUE, KEYS), (RED, KEYS)]) == before[::-1]
    assert again.usage == Usage(questions=2, calls=0, hits=2, misses=0)


def test_another_reasoner_does_not_take_from_the_cache():
    cache = AnswerCache()
    Reader(BM25(), ScriptedReasoner(echo, identity="one"), cache=cache).answer([(RED, KEYS)])
    other = Reader(BM25(), ScriptedReasoner(echo, identity="two"), cache=cache)
    other.answer([(RED, KEYS)])
    assert other.usage.calls == 1


def test_usage_tells_what_was_done_since():
    reader = Reader(BM25(), ScriptedReasoner(echo), cache=AnswerCache())
    reader.answer([(RED, KEYS)])
    before = reader.usage
    reader.answer([(RED, KEYS), (BLUE, KEYS), (BLUE, KEYS)])
    assert reader.usage.since(before) == Usage(questions=3, calls=1, hits=1, misses=2)


def test_a_failure_leaves_the_question_unscored_and_is_asked_again_next_time():
    reasoner = ScriptedReasoner(echo)
    reader = Reader(BM25(), reasoner, cache=AnswerCache(), max_unscored_share=0.5)
    failing = question("Does the red key fail?", "Ann", "bad")
    for _ in range(2):
        bad, good = reader.answer([(failing, KEYS), (RED, KEYS)])
        assert (bad.score, bad.failure, bad.prediction, bad.cited) == (None, "timed out", "", ())
        assert [item.id for item in bad.evidence] == ["m1", "m2"]
        assert good.score == 1.0
    assert [asked.question for asked in reasoner.asked] == [failing.text, RED.text, failing.text]
    assert reader.usage == Usage(questions=4, calls=3, hits=1, misses=3, unscored=2)


def test_too_many_failures_stop_with_the_counts_and_the_first():
    cache = AnswerCache()
    reader = Reader(BM25(), ScriptedReasoner(echo), cache=cache, max_unscored_share=0.3)
    failing = question("Does it fail?", identifier="bad")
    with pytest.raises(ReasonerError, match=r"scripted: 2 of 4 .* allowed are 30%. The first is bad: timed out"):
        reader.answer([(RED, KEYS), (failing, KEYS), (BLUE, KEYS), (failing, KEYS)])
    assert reader.usage.unscored == 2
    assert Reader(BM25(), ScriptedReasoner(echo), cache=cache).answer([(RED, KEYS)])  # what succeeded was kept
    assert cache.hits == 1


def test_as_many_failures_as_allowed_go_through():
    reader = Reader(BM25(), ScriptedReasoner(echo), max_unscored_share=0.5)
    assert [a.score for a in reader.answer([(question("fail?"), KEYS), (RED, KEYS)])] == [None, 1.0]


def test_nothing_asked_nothing_answered():
    reader = Reader(BM25(), ScriptedReasoner({}))
    assert (reader.answer([]), reader.usage) == ([], Usage())


WEDDING = Question("wedding", "Who has the red key at the wedding?", ("Ann",), "judge", kind="multi-session")


def lenient(case: Judged) -> Verdict:
    """Right if the reference is there; no verdict on a reply about rain."""
    if "rain" in case.reply:
        return Verdict(None, "the judge said nothing")
    return Verdict(float(case.references[0] in case.reply))


def test_a_question_for_a_judge_is_scored_by_it_and_the_others_by_their_rules():
    judge = ScriptedJudge(lenient)
    reader = Reader(BM25(), ScriptedReasoner(lambda asked: Reply("<think>Bob?</think>Ann", (0,))), judge=judge)
    answers = reader.answer([(WEDDING, KEYS), (RED, KEYS), (BLUE, KEYS)])
    assert [(answer.score, answer.failure) for answer in answers] == [(1.0, None), (1.0, None), (0.0, None)]
    assert answers[0].cited == ("m1",)
    assert judge.judged == [Judged(WEDDING.text, ("Ann",), "Ann", "multi-session")]
    assert reader.usage == Usage(questions=3, calls=3, misses=3, judged=1)


def test_a_judged_answer_is_judged_once_over_runs(tmp_path: Path):
    judge = ScriptedJudge(lenient)
    for _ in range(2):
        reader = Reader(BM25(), ScriptedReasoner(echo), cache=AnswerCache(tmp_path / "a"), judge=judge)
        assert [a.score for a in reader.answer([(WEDDING, KEYS), (WEDDING, KEYS)])] == [1.0, 1.0]
    assert len(judge.judged) == 1
    assert reader.usage == Usage(questions=2, hits=2)


def test_a_summary_scores_the_share_of_its_key_points():
    points = replace(WEDDING, keywords=("Ann", "the red key", "Bob"))
    reader = Reader(BM25(), ScriptedReasoner(echo), judge=ScriptedJudge(lenient))
    assert reader.answer([(points, KEYS)])[0].score == pytest.approx(2 / 3)
    assert reader.usage.judged == 3


def test_a_verdict_that_fails_leaves_the_question_unscored_and_counts_as_a_failed_reply_does():
    rain = bank("The red key was wet from the rain at the wedding.")
    reader = Reader(BM25(), ScriptedReasoner(echo), max_unscored_share=0.5, judge=ScriptedJudge(lenient))
    answer, _ = reader.answer([(WEDDING, rain), (RED, KEYS)])
    assert (answer.score, answer.failure) == (None, "the judge said nothing")
    assert answer.prediction == "The red key was wet from the rain at the wedding."
    with pytest.raises(ReasonerError, match=r"1 of 1 questions .* The first is wedding: the judge said nothing"):
        reader.answer([(WEDDING, rain)])


def test_a_failed_reply_is_not_judged():
    judge = ScriptedJudge(lenient)
    reader = Reader(BM25(), ScriptedReasoner(lambda asked: Reply("", failure="timed out")), judge=judge)
    reader.max_unscored_share = 1.0
    assert reader.answer([(WEDDING, KEYS)])[0].failure == "timed out"
    assert judge.judged == []


def test_without_a_judge_its_questions_stay_unscored_are_told_once_and_stop_nothing(caplog):
    reader = Reader(BM25(), ScriptedReasoner(echo), max_unscored_share=0.0)
    for _ in range(2):
        judged, red = reader.answer([(WEDDING, KEYS), (RED, KEYS)])
        assert (judged.score, judged.failure, judged.prediction) == (None, NO_JUDGE, "Ann has the red key.")
        assert red.score == 1.0
    assert reader.usage.unscored == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_cannot_be_judged_does_not_thin_out_what_failed():
    reader = Reader(BM25(), ScriptedReasoner(echo), max_unscored_share=0.5)
    failing = question("Does it fail?", identifier="bad")
    with pytest.raises(ReasonerError, match=r"scripted: 1 of 1 questions could not be scored"):
        reader.answer([(failing, KEYS), (WEDDING, KEYS), (WEDDING, KEYS)])
