"""Sentences of the data pipeline."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from finemem_pipeline import store, wiring
from finemem_pipeline.benchmarks.streams import Sets, read_sets
from finemem_pipeline.config import DataConfig, RecipesConfig, TrainingConfig
from finemem_pipeline.episodes import Episode
from finemem_pipeline.validation.describe import describe_inputs
from finemem_pipeline.validation.expectations import read_suites, validate_sets

EXPECTATIONS = Path("conf/base/expectations")
DATA_DOCS = Path("data/08_reporting/data_docs")

log = logging.getLogger(__name__)


def read_streams(data: DataConfig, training: TrainingConfig, recipes: RecipesConfig) -> Sets:
    """The three sets as the loader gives them, filtered, limited and cut as asked."""
    path = wiring.raw_streams(data)
    cut = wiring.chunk_cutter(data, recipes.recipe(training.recipe))
    sets = read_sets(data.source, path, sources=data.sources, limits=data.limits)
    return {split: [cut(episode) for episode in episodes] for split, episodes in sets.items()}


def check_sets(sets: Sets) -> tuple[Sets, dict[str, Any]]:
    """The same sets, once they satisfy the Great Expectations suites; raises otherwise."""
    with store.leaving(DATA_DOCS):
        checks = validate_sets(sets, read_suites(EXPECTATIONS), DATA_DOCS)
    return sets, {**checks, "docs": str(DATA_DOCS / Path(checks["docs"]).name)}


def record_inputs(sets: Sets, data: DataConfig) -> dict[str, Any]:
    """Name, digest, row counts and schema of every input file."""
    return describe_inputs(data.source, wiring.raw_files(data), sets)


def split_sets(sets: Sets) -> tuple[list[Episode], list[Episode], list[Episode]]:
    """Train, dev and test, to be written one by one."""
    for split, episodes in sets.items():
        log.info("%s: %d streams, %d chunks", split, len(episodes), sum(episode.steps for episode in episodes))
    return sets["train"], sets["dev"], sets["test"]
