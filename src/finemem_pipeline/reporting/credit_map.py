"""Where the credit of one rollout went, step by step, with all that a reader needs to see why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from finemem_pipeline.episodes import Episode
from finemem_pipeline.reporting.sample import answered, sample_stream
from finemem_pipeline.rollouts import Rollout


def credit_map(
    name: str,
    episode: Episode,
    rollout: Rollout,
    terms: Mapping[str, Sequence[float]],
    weights: Mapping[str, float],
) -> dict[str, Any]:
    """The document of `sample_stream`, with the questions of the chunks, the terms (T,) and their weights.

    JSON-able; None: the term is absent at that step, or an answer to it failed. Of the final questions those stand
    there that were asked.
    """
    asked = {answer.question_id for answer in rollout.answers}
    drawn = replace(episode, questions=tuple(question for question in episode.questions if question.id in asked))
    sample = sample_stream(name, drawn, rollout)
    for told, chunk, step in zip(sample["steps"], episode.chunks, rollout.steps, strict=True):
        answers = {answer.question_id: answer for answer in step.answers}
        told["questions"] = [answered(each, answers[each.id]) for each in chunk.questions if each.id in answers]
    return {
        **sample,
        "sibling": rollout.sibling,
        "terms": {name: [_number(value) for value in values] for name, values in terms.items()},
        "weights": dict(weights),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)
