"""Sentences of the train pipeline. The jobs are imported when a node runs: they bring torch and trl."""

from __future__ import annotations

from typing import Any

from finemem_pipeline.config import ReaderConfig, RecipesConfig, RewardsConfig, TrainingConfig
from finemem_pipeline.episodes import Episode
from finemem_pipeline.training.together import team


def warm_start_policy(
    episodes: list[Episode],
    held_out: list[Episode],
    training: TrainingConfig,
    recipes: RecipesConfig,
    reader: ReaderConfig,
) -> dict[str, Any]:
    """Where the warm-started and the imitating weights are, and what they were made from."""
    from finemem_pipeline.pipelines.train import jobs

    return jobs.warm_start(episodes, held_out, training, recipes.recipe(training.recipe), reader)


def train_policy(
    episodes: list[Episode],
    warm_start: dict[str, Any],
    training: TrainingConfig,
    recipes: RecipesConfig,
    rewards: RewardsConfig,
    reader: ReaderConfig,
) -> dict[str, Any]:
    """Where the trained weights, the metrics and the rollouts are, and what they were trained with."""
    from finemem_pipeline.pipelines.train import jobs

    recipe, variant = recipes.recipe(training.recipe), rewards.variant(training.reward)
    return team().call(jobs.train_policy, episodes, warm_start, training, recipe, variant, reader)
