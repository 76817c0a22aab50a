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
    with pytest.raises(FinememError, match=r"reader\.judge: found none, but training streams of lme_train have"):
        jobs.train_policy(
            [stream, judged],
            {},
            TrainingConfig(folder=tmp_path),
            Recipe(model="none", learning_rate=1e-4),
            outcome,
            ReaderConfig(cache=tmp_path / "answers.sqlite"),
        )
