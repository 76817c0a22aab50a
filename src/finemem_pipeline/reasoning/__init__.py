"""Questions answered from a memory: reader = retriever + reasoner + scorer, with a cache of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from finemem_pipeline.errors import FinememError


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and the texts retrieved for it, best first. Ids are left out: siblings share answers."""

    question: str
    texts: tuple[str, ...]  # (k,), possibly none


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reasoner answered."""

    text: str
    cited: tuple[int, ...] = ()  # places in Asked.texts that the answer rests on, ascending
    failure: str | None = None  # why this one question has no answer; the text then means nothing


class ReasonerError(FinememError):
    """The backend failed as a whole: no answer can be had now."""


class Reasoner(Protocol):
    """Answers questions from retrieved texts, without seeing references or scores."""

    @property
    def identity(self) -> str:
        """Backend, model, prompt version and decoding: everything but the question that an answer depends on."""
        ...

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        """One reply per question, in order. Raises ReasonerError if the backend fails."""
        ...
