import json

import numpy as np

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reporting.credit_map import credit_map
from finemem_pipeline.retrieval import BM25


def test_a_map_has_values_operations_and_the_answers_that_were_given():
    [episode] = generate(PlantedSpec(train=1, chunks=2), "train")
    [group] = play(
        [episode],
        Teacher(),
        Reader(BM25(), ExtractiveReasoner()),
        len,
        siblings=2,
        questions=lambda asked: asked.questions[:2],
    )
    terms = {"outcome": np.array([0.25, 1 / 3]), "chunk": [float("nan"), 1.0]}
    found = credit_map("fine_mem", episode, group.rollouts[1], terms, {"outcome": 1.0, "chunk": 0.5})
    assert (found["manager"], found["stream"], found["sibling"]) == ("fine_mem", episode.id, 1)
    assert found["terms"] == {"outcome": [0.25, 0.333333], "chunk": [None, 1.0]}
    assert [len(step["questions"]) for step in found["steps"]] == [len(chunk.questions) for chunk in episode.chunks]
    assert [asked["question"] for asked in found["questions"]] == [each.text for each in episode.questions[:2]]
    assert found["steps"][0]["operations"][0]["kind"] == "insert"
    json.dumps(found, allow_nan=False)
