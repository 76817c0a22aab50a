from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.episodes import Question
from finemem_pipeline.generation import Conversation, Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.reasoning import Asked, ReasonerError, Reply
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.judge import (
    DEFAULT,
    INSTRUCTIONS,
    KEY_POINT,
    RUBRIC_VERSION,
    RUBRICS,
    Judged,
    RubricJudge,
    Verdict,
    cached_verdicts,
    cases_of,
    together,
)
from finemem_pipeline.reasoning.scripted import ScriptedJudge
from finemem_pipeline.rollouts import Completion

CASE = Judged("When is the wedding?", ("12 May", "in mid May"), "On 12 May.", "temporal-reasoning")
LONGMEMEVAL = {
    "single-session-user",
    "single-session-assistant",
    "single-session-preference",
    "multi-session",
    "temporal-reasoning",
    "knowledge-update",
    "abstention",
}


def verdict(said: str) -> Verdict:
    return RubricJudge(ScriptedGenerator([said])).judge([CASE])[0]


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("yes", 1.0),
        ("No", 0.0),
        ("**Yes**", 1.0),
        ('"no".', 0.0),
        ("Yes, the reply names the date. No doubt.", 1.0),
        ("No. The reference says otherwise.", 0.0),
        ("yes\n", 1.0),
        ("<think>no? yes? no.</think>\n\nYes", 1.0),
        ("Right: yes", 1.0),
        ('{"right": "no"}', 0.0),
        ("The date is the same.\nVerdict: **yes**", 1.0),
        ("The date is the same.\nYes.", 1.0),
    ],
)
def test_yes_is_one_and_no_is_zero(said: str, score: float):
    assert verdict(said) == Verdict(score)


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ("", "the judge said nothing"),
        (" \n", "the judge said nothing"),
        ("<think>yes</think>", "the judge said nothing"),
        ("<think>yes, yes", "the judge was cut off while thinking, after 15 characters"),
        ("Perhaps.", "the judge said neither yes nor no: 'Perhaps.'"),
        ("There is no way to know", "the judge said neither yes nor no: 'There is no way to know'"),
        ("Yes or no?", "the judge said neither yes nor no: 'Yes or no?'"),
        ("Yes and no.", "the judge said neither yes nor no: 'Yes and no.'"),
        ("yes/no", "the judge said neither yes nor no: 'yes/no'"),
        ("Yes.\nFinal verdict: no", "the judge said neither yes nor no: 'Yes.\\nFinal verdict: no'"),
        ("Yesterday", "the judge said neither yes nor no: 'Yesterday'"),
    ],
)
def test_anything_else_is_a_failure_and_never_a_zero(said: str, failure: str):
    assert verdict(said) == Verdict(None, failure)


@given(st.text(st.characters(exclude_categories=()), max_size=80))
def test_any_verdict_can_be_read(said: str):
    found = verdict(said)
    assert (found.score is None) != (found.failure is None)
    assert found.score in (None, 0.0, 1.0)


def shown(case: Judged) -> Conversation:
    generator = ScriptedGenerator(["yes"])
    RubricJudge(generator).judge([case])
    return generator.conversations[0]


def test_the_judge_sees_the_rule_the_question_the_references_and_the_reply():
    system, user = shown(CASE)
    assert system["content"] == INSTRUCTIONS
    for part in (RUBRICS["temporal-reasoning"], "When is the wedding?", "- 12 May\n- in mid May", "On 12 May."):
        assert part in user["content"]


def test_there_is_a_rubric_for_every_question_type_of_longmemeval_and_one_for_the_others():
    assert set(RUBRICS) == LONGMEMEVAL | {KEY_POINT}
    assert len({*RUBRICS.values(), DEFAULT}) == 9
    assert DEFAULT in shown(Judged("Who?", ("Ann",), "Ann", ""))[1]["content"]
    assert DEFAULT in shown(Judged("Who?", ("Ann",), "Ann", "another kind"))[1]["content"]


def test_what_is_shown_can_be_sent_whatever_was_said():
    user = shown(Judged("Who?", ("Ann",), "half a pair: \ud83d", ""))[1]
    assert "half a pair: ?" in user["content"]
    assert "(nothing was said)" in shown(Judged("Who?", ("Ann",), " ", ""))[1]["content"]


def test_the_identity_holds_model_rubrics_and_decoding():
    judge = RubricJudge(ScriptedGenerator([], name="m@1"), Sampling(max_tokens=8, temperature=0.5))
    assert judge.identity == f"judge/{RUBRIC_VERSION} m@1 max_tokens=8 temperature=0.5 top_p=1 seed=None"


def test_a_model_that_fails_is_a_failure_of_the_whole():
    with pytest.raises(ReasonerError, match="the judge's model failed: the script ended before request 1"):
        RubricJudge(ScriptedGenerator([])).judge([CASE])


def test_a_summary_is_one_case_for_each_key_point_and_scores_their_mean():
    asked = Question("q", "Summarise.", ("A long summary.",), "judge", keywords=("Ahab dies", "The ship sinks"))
    assert cases_of(asked, "He dies.") == (
        Judged("Summarise.", ("Ahab dies",), "He dies.", KEY_POINT),
        Judged("Summarise.", ("The ship sinks",), "He dies.", KEY_POINT),
    )
    assert together([Verdict(1.0), Verdict(0.0)]) == Verdict(0.5)
    assert together([Verdict(1.0), Verdict(None, "no verdict"), Verdict(0.0)]) == Verdict(None, "no verdict")


def test_any_other_reply_is_one_case():
    asked = Question("q", "Who?", ("Ann", "Anna"), "judge", kind="abstention")
    assert cases_of(asked, "Ann") == (Judged("Who?", ("Ann", "Anna"), "Ann", "abstention"),)


def by_length(case: Judged) -> Verdict:
    return Verdict(float(len(case.reply) > 3)) if case.reply else Verdict(None, "empty")


def case(reply: str = "long", question: str = "Who?", references: tuple[str, ...] = ("Ann",), kind: str = "") -> Judged:
    return Judged(question, references, reply, kind)


def test_a_case_is_judged_once_and_a_failed_one_again(tmp_path):
    judge = ScriptedJudge(by_length)
    cases = [case("long"), case("no"), case("long"), case("")]
    found, calls = cached_verdicts(judge, cases, AnswerCache(tmp_path / "a"))
    assert calls == 3
    assert [found[one] for one in cases] == [Verdict(1.0), Verdict(0.0), Verdict(1.0), Verdict(None, "empty")]
    found, calls = cached_verdicts(judge, cases, AnswerCache(tmp_path / "a"))
    assert calls == 1
    assert [found[one].score for one in cases] == [1.0, 0.0, 1.0, None]
    assert [one.reply for one in judge.judged] == ["long", "no", "", ""]


@pytest.mark.parametrize(
    "other",
    [
        case("other"),
        case(question="Where?"),
        case(references=("Bob",)),
        case(references=("Ann", "Bob")),
        case(kind="x"),
    ],
)
def test_a_verdict_is_kept_for_the_same_case_alone(other: Judged):
    cache, judge = AnswerCache(), ScriptedJudge(by_length)
    cached_verdicts(judge, [case()], cache)
    assert cached_verdicts(judge, [other], cache)[1] == 1
    assert cached_verdicts(judge, [case()], cache)[1] == 0
    assert cached_verdicts(ScriptedJudge(by_length, identity="another"), [case()], cache)[1] == 1


def test_verdicts_and_replies_share_a_cache_without_meeting():
    cache = AnswerCache()
    cached_verdicts(ScriptedJudge(by_length, identity="judge"), [case()], cache)
    assert cache.get([AnswerCache.key("reasoner", Asked("Who?", ("", "long", "Ann")))]) == {}
    cache.put({AnswerCache.key("reasoner", Asked("Who?", ("", "long", "Ann"))): Reply("Ann")})
    assert cached_verdicts(ScriptedJudge(by_length, identity="judge"), [case()], cache)[0] == {case(): Verdict(1.0)}


def test_without_a_cache_equal_cases_are_still_judged_once():
    assert cached_verdicts(ScriptedJudge(by_length), [case(), case()], None) == ({case(): Verdict(1.0)}, 1)
    assert cached_verdicts(ScriptedJudge(by_length), [], None) == ({}, 0)


def test_a_verdict_may_be_cut_off_once_it_is_said():
    generator = ScriptedGenerator([Completion("Yes, because the", finish="length")])
    assert RubricJudge(generator).judge([CASE]) == [Verdict(1.0)]
