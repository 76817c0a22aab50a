import pytest

from finemem_pipeline.reasoning import Asked, ReasonerError, Reply
from finemem_pipeline.reasoning.judge import Judged, Verdict
from finemem_pipeline.reasoning.scripted import ScriptedJudge, ScriptedReasoner


def test_replies_come_from_a_table_of_questions():
    reasoner = ScriptedReasoner({"Who?": Reply("Ann", (0,))})
    assert reasoner.answer([Asked("Who?", ("a",)), Asked("Who?", ())]) == [Reply("Ann", (0,)), Reply("Ann", (0,))]
    assert [len(asked.texts) for asked in reasoner.asked] == [1, 0]


def test_a_question_outside_the_table_is_an_error():
    with pytest.raises(ReasonerError, match="no reply to the question 'What\\?'"):
        ScriptedReasoner({}).answer([Asked("What?", ())])


def test_verdicts_come_from_a_function_and_cases_are_kept():
    judge = ScriptedJudge(lambda case: Verdict(float(case.reply == "Ann")))
    cases = [Judged("Who?", ("Ann",), "Ann", ""), Judged("Who?", ("Ann",), "Bob", "")]
    assert judge.judge(cases) == [Verdict(1.0), Verdict(0.0)]
    assert judge.judged == cases
