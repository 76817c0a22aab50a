"""The managers of a table, built one after the other: only one language model is in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from finemem_pipeline import wiring
from finemem_pipeline.config import MODEL_MANAGERS, EvaluationConfig, ReaderConfig, Recipe
from finemem_pipeline.datasets import JsonLinesDataset
from finemem_pipeline.episodes import Episode
from finemem_pipeline.generation import Sampling
from finemem_pipeline.manager import Manager
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.policy import PolicyManager
from finemem_pipeline.pipelines.evaluate import compared
from finemem_pipeline.records import decode_rollout, encode_rollout
from finemem_pipeline.reporting.bars import Bar
from finemem_pipeline.rollouts import RolloutGroup
from finemem_pipeline.training import fingerprint
from finemem_pipeline.training.runs import digest

PLAYED = Path("data/07_model_output/played")
PLAYED_BY = {"model", "precision", "max_completion_tokens", "memory_tokens"}
"""What of a recipe a greedy policy plays by."""

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

    What a language model has played before is read back: decoding is greedy, so that it would only be played again.
    Where an answer failed nothing is kept, as it may succeed the next time.
    `imitation` is left out, and said so, where training.warm_start asked for none.
    """
    weights: dict[str, str | None] = {
        "untrained": "",
        "warm_started": warm_start["warm"],
        "imitation": warm_start["imitation"],
        "trained": trained["adapter"],
    }
    builders: dict[str, Callable[[], Manager]] = {
        **compared.scripted(evaluation, recipe),
        **compared.speaking(recipe, reader_config, partial(compared.speaker, evaluation, recipe)),
    }
    reader = wiring.reader(reader_config)
    places: dict[str, JsonLinesDataset] = {}
    conditions = {
        "streams": fingerprint.streams(episodes),
        "recipe": recipe.model_dump(mode="json", include=PLAYED_BY),
        "reader": wiring.reader_identity(reader_config, reader),
        "batch": evaluation.batch,
        "base_model": fingerprint.base_model(recipe.model),
        "code": fingerprint.code("generation/endpoint.py", "pipelines/evaluate/compared.py"),
        "libraries": fingerprint.libraries(),
    }
    for name, folder in weights.items():
        if folder is not None:
            builders[name] = partial(_policy, folder, recipe, reader_config)
            weight = fingerprint.weights(Path(folder)) if folder else ""
            places[name] = _place(name, conditions, weight)
    for name in MODEL_MANAGERS:
        places[name] = _place(name, conditions, compared.spoken_by(evaluation))
    count_tokens = wiring.count_tokens(recipe.model)
    played: dict[str, list[RolloutGroup]] = {}
    for name in evaluation.managers:
        if name not in builders:
            log.warning("%s: there is none, training.warm_start.imitation_steps asked for none", name)
            continue
        kept = places.get(name)
        if kept is not None and kept.exists():
            log.info("%s: the same weights have played the same streams before, read back", name)
            played[name] = [RolloutGroup(each.episode_id, (each,)) for each in map(decode_rollout, kept.load())]
            continue
        manager = builders[name]()
        groups: list[RolloutGroup] = []
        with Bar(f"evaluating {name}", len(episodes)) as bar:
            for first in range(0, len(episodes), evaluation.batch):
                batch = episodes[first : first + evaluation.batch]
                groups += play(batch, manager, compared.reader_of(name, reader), count_tokens, ask_chunks=False)
                bar.at(len(groups))
        played[name] = groups
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        if kept is not None and all(answer.score is not None for rollout in rollouts for answer in rollout.answers):
            kept.save(map(encode_rollout, rollouts))
    return played


def _place(name: str, *played_by: Any) -> JsonLinesDataset:
    return JsonLinesDataset(filepath=str(PLAYED / f"{name}-{digest(*played_by)}.jsonl.gz"))


def _policy(folder: str, recipe: Recipe, reader_config: ReaderConfig) -> PolicyManager:
    from finemem_pipeline.training.policy import finished_policy

    return PolicyManager(
        finished_policy(
            recipe.model, Path(folder) if folder else None, recipe.precision, adapter=recipe.lora is not None
        ),
        wiring.prompter(recipe, reader_config),
        Sampling(max_tokens=recipe.max_completion_tokens, temperature=0.0),
    )
