"""Questions from a language model, asked for as a JSON list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from finemem_pipeline.generation import Conversation, Generator, Sampling
from finemem_pipeline.questions.drafts import Draft, Drafts

PROMPT = """Read the text and write {count} questions about single facts that it states.
Each question must be clear to somebody who does not see the text: name the people and things it is about.
Each answer is a name, number, date or a few words, copied from the text.
No question may give its answer away, and no two may ask for the same fact.
Reply with a JSON list and nothing else: [{{"question": "...", "answer": "..."}}, ...]

Text:
{text}"""

_THOUGHT = re.compile(r"^.*?</think>", re.DOTALL)


class PromptedWriter:
    """Asks a Generator. Raises GeneratorError if it stays down; a reply that cannot be read is counted as malformed."""

    def __init__(self, generator: Generator, sampling: Sampling) -> None:
        self.generator, self.sampling = generator, sampling

    @property
    def identity(self) -> str:
        return f"prompted {json.dumps([self.generator.name, repr(self.sampling), PROMPT])}"

    def write(self, texts: Sequence[str], count: int) -> list[Drafts]:
        asked: list[Conversation] = [
            [{"role": "user", "content": PROMPT.format(count=count, text=text)}] for text in texts
        ]
        return [read_reply(completion.text) for completion in self.generator.generate(asked, self.sampling)]


def read_reply(reply: str) -> Drafts:
    """The objects of a reply that have a question and an answer, wherever they stand in it; the others are counted.

    A list that was cut off keeps its whole objects; a reply without any object is one malformed part.
    """
    found: list[Draft] = []
    malformed = 0
    for value in _objects(_THOUGHT.sub("", reply)):
        question, answer = value.get("question"), value.get("answer")
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = str(answer)
        if isinstance(question, str) and isinstance(answer, str) and _readable(question) and _readable(answer):
            found.append(Draft(" ".join(question.split()), " ".join(answer.split())))
        else:
            malformed += 1
    return Drafts(tuple(found), malformed or int(not found))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object of a text that is not inside another."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
            yield value
        except (ValueError, RecursionError):
            place += 1
        place = text.find("{", place)


def _readable(text: str) -> bool:
    """Something is said, in characters that can be written to a file."""
    return bool(text.strip()) and not any("\ud800" <= character <= "\udfff" for character in text)
