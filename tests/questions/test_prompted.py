from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.generation import Conversation, GeneratorError, Sampling
from finemem_pipeline.questions import Draft, PromptedWriter
from finemem_pipeline.questions.prompted import read_reply
from finemem_pipeline.rollouts import Completion

PAIR = {"question": "What is Maria's code?", "answer": "4821"}


class Replies:
    """A generator that says the same to everybody, and keeps what it was asked."""

    name = "replies 1"

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.asked: list[Conversation] = []

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        if self.text is None:
            raise GeneratorError("down")
        self.asked.extend(conversations)
        return [Completion(self.text) for _ in conversations]


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps([PAIR]),
        f"Sure!\n```json\n{json.dumps([PAIR], indent=2)}\n```\nAnything else?",
        f"<think>a list like [{{}}]</think>{json.dumps([PAIR])}",
        json.dumps([PAIR])[:-1] + ', {"question": "What is',
        json.dumps({**PAIR, "answer": 4821}),
        f"{json.dumps(PAIR)}\n{{}}",
    ],
)
def test_whole_pairs_are_found_wherever_they_stand(reply: str) -> None:
    assert read_reply(reply).found == (Draft("What is Maria's code?", "4821"),)


@pytest.mark.parametrize(
    ("reply", "malformed"),
    [
        ("I cannot do that.", 1),
        ("", 1),
        ("[]", 1),
        ('[{"question": "Who?"}, {"question": 3, "answer": "x"}, {"question": "Who?", "answer": " "}]', 3),
        ('[{"question": "Who?", "answer": "half \\ud800"}]', 1),
        ('[{"question": "Who?", "answer": true}]', 1),
    ],
)
def test_what_cannot_be_used_is_counted(reply: str, malformed: int) -> None:
    assert read_reply(reply).found == ()
    assert read_reply(reply).malformed == malformed


@given(st.text() | st.text(st.sampled_from('{}[]",:question answer\\')))
def test_no_reply_raises(reply: str) -> None:
    read = read_reply(reply)
    assert read.found or read.malformed


def test_nesting_without_end_is_survived() -> None:
    assert read_reply('{"a":' * 5_000).malformed == 1


def test_each_text_is_a_conversation_of_its_own() -> None:
    generator = Replies(json.dumps([PAIR]))
    written = PromptedWriter(generator, Sampling()).write(["First {text}.", "Second."], 10)
    assert [len(each.found) for each in written] == [1, 1]
    assert "write 10 questions" in generator.asked[0][0]["content"]
    assert generator.asked[0][0]["content"].endswith("First {text}.")


def test_a_generator_that_is_down_raises() -> None:
    with pytest.raises(GeneratorError, match="down"):
        PromptedWriter(Replies(None), Sampling()).write(["text"], 5)


def test_the_identity_tells_models_and_decoding_apart() -> None:
    one, other = Replies(""), Replies("")
    other.name = "replies 2"
    identities = {
        PromptedWriter(one, Sampling()).identity,
        PromptedWriter(other, Sampling()).identity,
        PromptedWriter(one, Sampling(temperature=0.7)).identity,
    }
    assert len(identities) == 3
