import pytest

from finemem_pipeline.generation import GeneratorError, Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.rollouts import Completion


def ask(generator: ScriptedGenerator, *texts: str) -> list[Completion]:
    return generator.generate([[{"role": "user", "content": text}] for text in texts], Sampling())


def test_replies_are_given_out_one_after_the_other():
    generator = ScriptedGenerator(["one", Completion("two", finish="length"), "three"])
    assert ask(generator, "a", "b") == [Completion("one"), Completion("two", finish="length")]
    assert ask(generator, "c") == [Completion("three")]


def test_a_function_sees_the_conversation():
    generator = ScriptedGenerator(lambda conversation: conversation[-1]["content"].upper())
    assert [reply.text for reply in ask(generator, "a", "b")] == ["A", "B"]
    assert [one[-1]["content"] for one in generator.conversations] == ["a", "b"]


def test_a_script_that_has_run_out_says_at_which_request():
    generator = ScriptedGenerator(["one"])
    with pytest.raises(GeneratorError, match="ended before request 2"):
        ask(generator, "a", "b")
