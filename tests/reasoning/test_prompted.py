from __future__ import annotations

import pytest

from finemem_pipeline.generation import Conversation, GeneratorError, Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.reasoning import Asked, ReasonerError, Reply
from finemem_pipeline.reasoning.prompted import PROMPT_VERSION, PromptedReasoner
from finemem_pipeline.rollouts import Completion

ASKED = Asked("Who has the key?", ("Ann has the key.", "Bob has the map."))


def reply(text: str) -> Reply:
    return PromptedReasoner(ScriptedGenerator([text])).answer([ASKED])[0]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('{"answer": "Ann", "used": [1]}', Reply("Ann", (0,))),
        ('{"answer": "Ann", "used": [2, 1, 2]}', Reply("Ann", (0, 1))),
        ('{"answer": "Ann", "used": 2}', Reply("Ann", (1,))),
        ('{"answer": "Ann", "used": "notes [1] and [2]"}', Reply("Ann", (0, 1))),
        ('{"answer": "Ann", "used": ["[1]"]}', Reply("Ann", (0,))),
        ('{"answer": "Ann", "used": [0, 3, -1, 1.5, null, {}]}', Reply("Ann")),
        ('{"answer": "Ann", "used": []}', Reply("Ann")),
        ('{"answer": "Ann"}', Reply("Ann")),
        ('```json\n{"answer": "Ann", "used": [1]}\n```', Reply("Ann", (0,))),
        ('Sure! {"answer": "Ann", "used": [1]} Anything else?', Reply("Ann", (0,))),
        ('{"note": 1} {"answer": "Bob"} {"answer": "Ann", "used": [1]}', Reply("Ann", (0,))),
        ('{"answer": 7, "used": [1]}', Reply("7", (0,))),
        ('{"answer": 1, "used": []}', Reply("1")),
        ('{"answer": 0, "used": []}', Reply("0")),
        ('{"answer": true}', Reply("yes")),
        ('{"answer": ["Ann", "Bob"], "used": [1, 2]}', Reply("Ann, Bob", (0, 1))),
        ('{"answer": null, "used": []}', Reply("")),
        ('{"answer": "", "used": []}', Reply("")),
        ("Ann.", Reply("Ann.")),
        ("Ann [1]", Reply("Ann [1]")),
        ("7", Reply("7")),
        ('{"answer": "Ann", "used": [1', Reply("Ann", (0,))),
        ('{"answer": "Ann \\"the key\\" Lee", "us', Reply('Ann "the key" Lee')),
        ('{"answer": "Ann of Green Ga', Reply("Ann of Green Ga")),
        ('{"answer": 42, "used": [2', Reply("42", (1,))),
        ('{"answer": "line\nbreak", "used": [1]}', Reply("line\nbreak", (0,))),
        ("{answer: Ann}", Reply("{answer: Ann}")),
        ('<think>{"answer": "Bob"}</think>{"answer": "Ann", "used": [1]}', Reply("Ann", (0,))),
        ("thoughts without an opening</think>Ann", Reply("Ann")),
    ],
)
def test_a_reply_is_read_leniently(said: str, expected: Reply):
    assert reply(said) == expected


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ('{"answer": "Class 22", "used": [1]}', "22"),
        ("It gets class 22.", "22"),
        ("\\boxed{22}", "22"),
        ("22 or 23", "22 or 23"),
        ("I do not know", "I do not know"),
    ],
)
def test_a_label_is_taken_out_of_what_stands_around_it(said: str, label: str):
    asked = Asked("Query: play\nWhich class number does this query get? Answer with the number only.", ("a",))
    assert PromptedReasoner(ScriptedGenerator([said])).answer([asked])[0].text == label


@pytest.mark.parametrize("said", ["", "  \n", "<think>hm</think>", "<think>hm</think>\n ", "```\n```"])
def test_an_empty_reply_is_a_failure(said: str):
    assert reply(said) == Reply("", failure=reply(said).failure)
    assert "reply was empty" in (reply(said).failure or "")


def test_a_thought_that_never_ends_is_a_failure():
    assert reply("<think>Ann or {").failure == "cut off while thinking, after 15 characters"


def test_a_long_reply_of_braces_is_read_in_good_time():
    assert reply('{"a":' * 20_000).text.startswith('{"a":')


def prompts(asked: Asked) -> str:
    generator = ScriptedGenerator(["x"])
    PromptedReasoner(generator).answer([asked])
    return generator.conversations[0][-1]["content"]


def test_the_model_sees_the_numbered_texts_and_the_question():
    assert prompts(ASKED) == "Notes:\n[1] Ann has the key.\n[2] Bob has the map.\n\nQuestion: Who has the key?"


def test_without_texts_the_question_is_still_asked():
    assert prompts(Asked("Who?", ())) == "Notes:\n(none)\n\nQuestion: Who?"


def test_all_questions_go_to_the_generator_in_one_call():
    calls: list[int] = []

    class Counting(ScriptedGenerator):
        def generate(self, conversations: list[Conversation], sampling: Sampling) -> list[Completion]:  # type: ignore[override]
            calls.append(len(conversations))
            return super().generate(conversations, sampling)

    answers = PromptedReasoner(Counting(["a", "b", "c"])).answer([ASKED] * 3)
    assert ([answer.text for answer in answers], calls) == (["a", "b", "c"], [3])


def test_a_generator_that_fails_fails_the_reasoner():
    def broken(conversation: Conversation) -> str:
        raise GeneratorError("http://x is down")

    with pytest.raises(ReasonerError, match="the reasoner's model failed: http://x is down"):
        PromptedReasoner(ScriptedGenerator(broken)).answer([ASKED])


def test_the_identity_names_prompt_model_and_decoding():
    reasoner = PromptedReasoner(ScriptedGenerator([], name="tiny"), Sampling(64, 0.1, 0.9, 3))
    assert reasoner.identity == f"prompted/{PROMPT_VERSION} tiny max_tokens=64 temperature=0.1 top_p=0.9 seed=3"
