"""A reasoner that asks a language model, over a server or in this process."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finemem_pipeline.generation import Conversation, Generator, GeneratorError, Sampling, after_thoughts
from finemem_pipeline.reasoning import Asked, ReasonerError, Reply
from finemem_pipeline.reasoning.labels import asks_for_label
from finemem_pipeline.rollouts import Completion

INSTRUCTIONS = """\
You answer questions from the notes of a memory.
Trust the notes more than what you know, and of two notes that disagree trust the one that corrects the other. \
If the notes do not tell, give your best guess.
Answer as briefly as you can: a name, a number, a date, a few words. A yes/no question is answered by yes or no, \
a question for a class number by the number alone, worked out from the labelled examples in the notes.
Reply with one JSON object and nothing else: {"answer": "your answer", "used": [numbers of the notes it rests on]}
If it rests on none, "used" is []."""

_ANSWER = re.compile(r'"answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)(?:"|$)|([^\s",}\]]+))', re.I | re.S)
_USED = re.compile(r'"used"\s*:\s*\[([^\]]*)', re.I)
_FENCE = re.compile(r"^\s*```\w*\s*|\s*```\s*$")


class PromptedReasoner:
    """Shows a model the numbered texts, and asks for a brief answer and the numbers of the texts it rests on.

    Replies are read leniently: one without numbers cites nothing, one that is no JSON is the answer as it stands.
    What a model thinks before `</think>` is cut. A reply with nothing in it, or cut off while thinking, is a failure of
    that question; a generator that fails raises ReasonerError.
    """

    def __init__(self, generator: Generator, sampling: Sampling = Sampling(max_tokens=128)) -> None:  # noqa: B008
        self.generator = generator
        self.sampling = sampling

    @property
    def identity(self) -> str:
        return f"prompted/{PROMPT_VERSION} {self.generator.name} {self.sampling.told}"

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        try:
            completions = self.generator.generate([_conversation(one) for one in asked], self.sampling)
        except GeneratorError as error:
            raise ReasonerError(f"the reasoner's model failed: {error}") from error
        return [_read(done, one) for done, one in zip(completions, asked, strict=True)]


def _conversation(asked: Asked) -> Conversation:
    notes = "\n".join(f"[{number}] {text}" for number, text in enumerate(asked.texts, 1)) or "(none)"
    return [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": f"Notes:\n{notes}\n\nQuestion: {asked.question}"},
    ]


def _read(completion: Completion, asked: Asked) -> Reply:
    """The reply in a completion."""
    spoken = after_thoughts(completion.text)
    if spoken is None:
        return Reply("", failure=f"cut off while thinking, after {len(completion.text)} characters")
    said = _FENCE.sub("", spoken).strip()
    if not said:
        thought = " after its thoughts" if len(spoken) < len(completion.text) else ""
        return Reply("", failure=f"the model's reply was empty{thought}")
    text, used = _answer_and_used(said)
    if asks_for_label(asked.question):
        text = _bare_number(text)
    return Reply(text, _places(used, len(asked.texts)))


def _answer_and_used(said: str) -> tuple[str, Any]:
    """The answer, and what stands under "used" in whatever form."""
    found = _object(said)
    if found is not None:
        return _text(found["answer"]), found.get("used")
    partial = _ANSWER.search(said)  # in JSON that is broken or was cut off
    if partial is None:
        return said, None
    quoted, bare = partial.groups()
    used = _USED.search(said, partial.end())
    return (bare if quoted is None else _unescaped(quoted)).strip(), used[1] if used else None


def _bare_number(text: str) -> str:
    """The number of "Class 22." or "It is 22": models dress it up whatever they are told."""
    numbers = set(re.findall(r"\d+", text))
    return numbers.pop() if len(numbers) == 1 else text


def _object(said: str) -> Mapping[str, Any] | None:
    """The last JSON object in a reply that has an answer."""
    decoder, found, place = json.JSONDecoder(), None, said.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(said, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            if isinstance(value, Mapping) and "answer" in value:
                found = value
        place = said.find("{", end)
    return found


def _text(answer: Any) -> str:
    """Numbers and lists come too, and null for not knowing."""
    if answer is None:
        return ""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    if isinstance(answer, list):
        return ", ".join(map(_text, answer))
    return str(answer).strip()


def _unescaped(quoted: str) -> str:
    try:
        return str(json.loads(f'"{quoted}"', strict=False))
    except ValueError:
        return quoted


def _places(used: Any, texts: int) -> tuple[int, ...]:
    """Places in the texts, from numbers that count from 1 in whatever form they come."""
    numbers = map(int, re.findall(r"(?<![\d.-])\d{1,6}(?![\d.])", json.dumps(used))) if used is not None else ()
    return tuple(sorted({number - 1 for number in numbers if 1 <= number <= texts}))


PROMPT_VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
"""Changes with this file, so that no answer is taken from a cache that was filled under another prompt or parser."""
