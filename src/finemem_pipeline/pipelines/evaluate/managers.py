"""The managers of a table, built one after the other: only one language model is in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from finemem_pipeline import wiring
from finemem_pipeline.config import EvaluationConfig, ReaderConfig, Recipe
from finemem_pipeline.episodes import Episode
from finemem_pipeline.generation import Sampling
from finemem_pipeline.manager import Manager
from finemem_pipeline.manager.baselines import NoMemory, RawChunks, SentenceCopier
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.policy import PolicyManager
from finemem_pipeline.reporting.bars import Bar
from finemem_pipeline.rollouts import RolloutGroup

log = logging.getLogger(__name__)


def play_managers(
    episodes: Sequence[Episode],
    warm_start: dict[str, Any],
    trained: dict[str, Any],
    evaluation: EvaluationConfig,
    recipe: Recipe,
    reader_config: ReaderConfig,
) -> dict[str, list[RolloutGroup]]:
    """One rollout of every stream by every manager asked for, in the order of evaluation.managers.

    `imitation` is left out, and said so, where training.warm_start asked for none.
    """
    weights: dict[str, str | None] = {
        "untrained": "",
        "warm_started": warm_start["warm"],
        "imitation": warm_start["imitation"],
        "trained": trained["adapter"],
    }
    builders: dict[str, Callable[[], Manager]] = {
        "no_memory": NoMemory,
        "raw_chunks": RawChunks,
        "sentences": SentenceCopier,
    }
    for name, folder in weights.items():
        if folder is not None:
            builders[name] = partial(_policy, folder, recipe, reader_config)
    reader = wiring.reader(reader_config)
    count_tokens = wiring.count_tokens(recipe.model)
    played: dict[str, list[RolloutGroup]] = {}
    for name in evaluation.managers:
        if name not in builders:
            log.warning("%s: there is none, training.warm_start.imitation_steps asked for none", name)
            continue
        manager = builders[name]()
        groups: list[RolloutGroup] = []
        with Bar(f"evaluating {name}", len(episodes)) as bar:
            for first in range(0, len(episodes), evaluation.batch):
                batch = episodes[first : first + evaluation.batch]
                groups += play(batch, manager, reader, count_tokens, ask_chunks=False)
                bar.at(len(groups))
        played[name] = groups
    return played


def _policy(folder: str, recipe: Recipe, reader_config: ReaderConfig) -> PolicyManager:
    from finemem_pipeline.training.policy import finished_policy

    return PolicyManager(
        finished_policy(
            recipe.model, Path(folder) if folder else None, recipe.precision, adapter=recipe.lora is not None
        ),
        wiring.prompter(recipe, reader_config),
        Sampling(max_tokens=recipe.max_completion_tokens, temperature=0.0),
    )
