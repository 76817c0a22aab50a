"""Sentences of the qa_generation pipeline."""

from __future__ import annotations

from typing import Any

from finemem_pipeline import store, wiring
from finemem_pipeline.config import QuestionsConfig
from finemem_pipeline.episodes import Episode
from finemem_pipeline.questions import write_questions


def write_chunk_questions(episodes: list[Episode], questions: QuestionsConfig) -> tuple[list[Episode], dict[str, Any]]:
    """The streams with verified chunk questions, and what was asked, kept and dropped."""
    with store.keeping(questions.cache):
        return write_questions(
            episodes,
            wiring.question_writer(questions),
            wiring.reasoner(questions.verifier),
            per_chunk=questions.per_chunk,
            cache=questions.cache,
        )
