from __future__ import annotations

import pytest

from finemem_pipeline.study.families import FAMILIES, streams


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("steps", [5, 20])
def test_a_stream_has_the_length_asked_for_and_is_the_same_for_the_same_seed(family: str, steps: int):
    [episode] = streams(family, steps, seed=3)
    assert episode.steps == steps
    assert streams(family, steps, seed=3) == [episode]
    assert streams(family, steps, seed=4) != [episode]


def test_each_family_has_its_difficulty():
    def facts(family: str) -> list:
        return [question for episode in streams(family, 10, seed=0, count=5) for question in episode.questions]

    def longest(family: str) -> int:
        return max(len(chunk.text.split("\n")) for episode in streams(family, 10, 0, 5) for chunk in episode.chunks)

    assert longest("clean") == 2
    assert longest("distractors") == 8
    assert not any(question.stale for question in facts("clean"))
    assert sum(bool(question.stale) for question in facts("corrections")) > 10
    assert sum(question.kind == "two_step" for question in facts("two_step")) > 5
    assert sum(len(question.evidence) == 2 for question in facts("redundant")) > 10
    assert {step for question in facts("early") for step in question.evidence} <= {0, 1, 2}
