"""The managers of a table, built one after the other: only one language model is in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from finemem_pipeline import wiring
from finemem_pipeline.config import MODEL_MANAGERS, EvaluationConfig, ReaderConfig, Recipe
from finemem_pipeline.episodes import Episode
from finemem_pipeline.generation import Generator, Sampling
from finemem_pipeline.generation.takes import Takes
from finemem_pipeline.manager.policy import PolicyManager
from finemem_pipeline.pipelines.evaluate import compared
from finemem_pipeline.pipelines.evaluate.playing import Played, Player, batches, play_all
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.training import fingerprint
from finemem_pipeline.training.runs import weights_at
from finemem_pipeline.training.twins import twin

PLAYED_BY = {"model", "precision", "max_completion_tokens", "memory_tokens"}
"""What of a recipe a policy plays by."""

log = logging.getLogger(__name__)


def play_managers(
    streams: Mapping[str, Sequence[Episode]],
    warm_start: dict[str, Any],
    trained: dict[str, Any],
    evaluation: EvaluationConfig,
    recipe: Recipe,
    reader_config: ReaderConfig,
    reader: Reader,
    shown_by: ReaderConfig | None = None,
) -> Iterator[Played]:
    """The streams of every benchmark, played by every manager asked for, in the order of evaluation.managers.

    What has been played before is read back. Where nothing was trained `warm_start` and `trained` are empty, and only
    managers that need no training can be asked for. `imitation` is left out, and said so, where training.warm_start
    asked for none. Managers are shown their memory by the retriever of `shown_by`; None: by that of the reader.
    """
    takes, shown_by = Takes(), shown_by or reader_config

    def speaker() -> tuple[Generator, Sampling]:
        generator, sampling = compared.speaker(evaluation, recipe)
        return takes.on(generator), sampling

    makers = {**compared.scripted(evaluation, recipe), **compared.speaking(recipe, shown_by, speaker)}
    parts = batches(streams, evaluation.batch)
    conditions = {
        "recipe": recipe.model_dump(mode="json", include=PLAYED_BY),
        "retriever": shown_by.retriever.model_dump(mode="json"),
        "temperature": evaluation.temperature,
        "base_model": fingerprint.base_model(recipe.model),
        "code": fingerprint.code("generation/endpoint.py", "pipelines/evaluate/compared.py"),
        "libraries": fingerprint.libraries(),
    }
    weights = _weights(warm_start, trained, evaluation.training_seeds)
    for name in evaluation.managers:
        players = []
        if name in makers:
            spoken = compared.spoken_by(evaluation) if name in MODEL_MANAGERS else {"window": evaluation.window}
            players.append(Player(name, makers[name], [conditions, spoken], seeds=wiring.seeds(name, evaluation)))
        for training_seed, folder in weights.get(name, {}).items():
            players.append(
                Player(
                    name,
                    partial(_policy, folder, recipe, shown_by, evaluation.temperature, takes),
                    [conditions, fingerprint.weights(weights_at(folder)) if folder else ""],
                    seeds=wiring.seeds(name, evaluation),
                    training_seed=training_seed,
                )
            )
        if not players:
            log.warning("%s: there is none, training.warm_start.imitation_steps asked for none", name)
        read_by = compared.reader_of(name, reader)
        identity = [wiring.reader_identity(reader_config, reader), read_by is not reader]
        for player in players:
            yield from play_all(player, parts, read_by, identity, wiring.count_tokens(recipe.model), takes)


def _weights(
    warm_start: dict[str, Any], trained: dict[str, Any], training_seeds: Sequence[int]
) -> dict[str, dict[int | None, Path | None]]:
    """The weights of each policy by the seed it was trained with; None stands for those of the base model."""
    found: dict[str, dict[int | None, Path | None]] = {"untrained": {None: None}}
    if not trained:
        return found
    adapter, warm = Path(trained["adapter"]), Path(warm_start["warm"])
    places = {trained["seed"]: (adapter, warm.parent)}
    places |= {seed: twin(adapter, seed) for seed in training_seeds if seed != trained["seed"]}
    found["trained"] = {seed: place for seed, (place, _) in places.items()}
    found["warm_started"] = {seed: folder / warm.name for seed, (_, folder) in places.items()}
    if warm_start["imitation"] is not None:
        name = Path(warm_start["imitation"]).name
        found["imitation"] = {seed: folder / name for seed, (_, folder) in places.items()}
    return found


def _policy(
    folder: Path | None, recipe: Recipe, reader_config: ReaderConfig, temperature: float, takes: Takes
) -> PolicyManager:
    from finemem_pipeline.training.policy import finished_policy

    generator = finished_policy(recipe.model, folder, recipe.precision, adapter=recipe.lora is not None)
    return PolicyManager(
        takes.on(generator),
        wiring.prompter(recipe, reader_config),
        Sampling(max_tokens=recipe.max_completion_tokens, temperature=temperature),
    )
