from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.config import ReaderConfig, Recipe, TrainingConfig
from finemem_pipeline.errors import FinememError
from finemem_pipeline.rewards import variant


def test_streams_that_only_a_judge_can_score_are_not_trained_on_without_one(tmp_path: Path):
    from finemem_pipeline.pipelines.train import jobs

    [stream] = generate(PlantedSpec(train=1, chunks=2), "train")
    judged = replace(
        stream, source="lme_train", questions=tuple(replace(each, metric="judge") for each in stream.questions)
    )
    outcome = variant("outcome", {"outcome": {"weight": 1.0}})
    training, recipe = TrainingConfig(folder=tmp_path), Recipe(model="none", learning_rate=1e-4)
    reader = ReaderConfig(cache=tmp_path / "answers.sqlite")
    told = r"reader\.judge: found none, but training streams of lme_train have"
    with pytest.raises(FinememError, match=told):
        jobs.warm_start([stream, judged], [stream], training, recipe, reader)
    with pytest.raises(FinememError, match=told):
        jobs.train_policy([stream, judged], {}, training, recipe, outcome, reader)


def test_an_evaluation_says_what_to_do_with_weights_that_an_older_version_trained():
    from finemem_pipeline.pipelines.evaluate import nodes

    old = {"folder": "data/06_models/fine_mem-1", "variant": "fine_mem"}
    with pytest.raises(FinememError, match=r"data/06_models/fine_mem-1: trained by another version .* Train again"):
        nodes._recipe(old, TrainingConfig(), None)


def test_a_folder_that_a_machine_does_not_see_is_told_with_the_name_of_the_machine(tmp_path: Path):
    from finemem_pipeline.pipelines.train import jobs
    from finemem_pipeline.training.runs import Run
    from finemem_pipeline.training.together import Team

    class Two(Team):
        def __init__(self, second: str | None) -> None:
            super().__init__(size=2)
            self.second = second

        def apart(self, work):
            return [work(), self.second]

    jobs._seen_by_all(Run(tmp_path), Two(None))
    with pytest.raises(FinememError, match=r"training\.folder: .* is not there on node-1\. All machines"):
        jobs._seen_by_all(Run(tmp_path), Two("node-1"))


def test_machines_beside_the_first_keep_answers_in_files_of_their_own():
    from finemem_pipeline.pipelines.train import jobs

    reader = ReaderConfig(cache=Path("data/answers.sqlite"))
    assert jobs._cached_on(0, reader) is reader
    assert jobs._cached_on(2, reader).cache == Path("data/node-2-answers.sqlite")
    assert jobs._cached_on(2, ReaderConfig(cache=None)).cache is None
