"""Short streams, and a manager that says what a function tells it to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.rollouts import Completion

MakeStream = Callable[..., Episode]


def make_stream(
    *texts: str, questions: Sequence[Question] = (), asked: Sequence[Question] = (), **fields: str
) -> Episode:
    """One chunk per text; `asked` are the chunk questions, each asked after its evidence chunk."""
    chunks = tuple(
        Chunk(t, text, tuple(question for question in asked if t in question.evidence)) for t, text in enumerate(texts)
    )
    return Episode(fields.get("id", "e"), fields.get("source", "made"), "AR", chunks, tuple(questions))


class Told:
    """Replies with a function of the observation; keeps every wave it was asked."""

    def __init__(self, say: Callable[[Observation], str], shown: frozenset[str] | None = None) -> None:
        self.say = say
        self.shown = shown
        self.waves: list[list[Observation]] = []

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        self.waves.append(list(observations))
        return [Turn(Completion(self.say(each)), self.shown) for each in observations]


@pytest.fixture
def stream() -> MakeStream:
    return make_stream


@pytest.fixture
def told() -> type[Told]:
    return Told
