import pytest

from finemem_pipeline.reasoning import Asked, ReasonerError, Reply
from finemem_pipeline.reasoning.scripted import ScriptedReasoner


def test_replies_come_from_a_table_of_questions():
    reasoner = ScriptedReasoner({"Who?": Reply("Ann", (0,))})
    assert reasoner.answer([Asked("Who?", ("a",)), Asked("Who?", ())]) == [Reply("Ann", (0,)), Reply("Ann", (0,))]
    assert [len(asked.texts) for asked in reasoner.asked] == [1, 0]


def test_a_question_outside_the_table_is_an_error():
    with pytest.raises(ReasonerError, match="no reply to the question 'What\\?'"):
        ScriptedReasoner({}).answer([Asked("What?", ())])
