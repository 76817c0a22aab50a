from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.episodes import Question
from finemem_pipeline.memory import Insert, MemoryBank, MemoryItem
from finemem_pipeline.reasoning import Asked, Reply
from finemem_pipeline.reasoning.asking import bare, instructed
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import Retriever


@given(st.text().filter(lambda text: "How to answer" not in text), st.text())
def test_the_question_comes_back_without_its_instruction(question: str, instruction: str):
    assert bare(instructed(question, instruction)) == bare(question) == question


def test_the_retriever_sees_the_question_and_the_reader_the_instruction_too():
    seen: dict[str, list[str]] = {}

    class Searching(Retriever):
        def search(
            self, queries: Sequence[str], items: Sequence[MemoryItem], k: int
        ) -> list[list[tuple[MemoryItem, float]]]:
            seen["searched"] = list(queries)
            return [[(items[0], 1.0)] for _ in queries]

    class Replying:
        identity = "replying"

        def answer(self, asked: Sequence[Asked]) -> list[Reply]:
            seen["asked"] = [one.question for one in asked]
            return [Reply("Oslo") for _ in asked]

    bank, _ = MemoryBank().apply(Insert("Ada is from Oslo."), 0)
    question = Question("q", instructed("Where is Ada from?", "Name the town only."), ("Oslo",))
    [answer] = Reader(Searching(), Replying()).answer([(question, bank)])
    assert answer.score == 1.0
    assert seen == {
        "searched": ["Where is Ada from?"],
        "asked": ["Where is Ada from?\n\nHow to answer: Name the town only."],
    }
