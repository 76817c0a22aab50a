"""The managers of a table, built one after the other: only one language model is in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from finemem_pipeline import wiring
from finemem_pipeline.config import MODEL_MANAGERS, EvaluationConfig, ReaderConfig, Recipe
from finemem_pipeline.datasets import JsonLinesDataset
from finemem_pipeline.episodes import Episode
from finemem_pipeline.generation import Generator, Sampling
from finemem_pipeline.manager import Manager, Usage, usage_by_stream
from finemem_pipeline.manager.baselines import NoMemory, RawChunks, SentenceCopier
from finemem_pipeline.manager.fact_list import FactListStyle
from finemem_pipeline.manager.latest_wins import LatestWins
from finemem_pipeline.manager.linked_notes import LinkedNotesStyle
from finemem_pipeline.manager.long_context import LongContext
from finemem_pipeline.manager.overwrite import CompactStyle, OverwriteStyle
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.policy import PolicyManager
from finemem_pipeline.manager.three_tier import ThreeTierStyle
from finemem_pipeline.memory import CountTokens
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.records import decode_rollout, encode_rollout
from finemem_pipeline.reporting.bars import Bar
from finemem_pipeline.rollouts import RolloutGroup
from finemem_pipeline.training import fingerprint
from finemem_pipeline.training.runs import digest

PLAYED = Path("data/07_model_output/played")
PLAYED_BY = {"model", "precision", "max_completion_tokens", "memory_tokens"}
"""What of a recipe a greedy policy plays by."""
HOW_FAST = {"api_key_env", "timeout", "concurrency", "attempts"}
"""What of a backend changes no reply."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Played:
    """What one manager did."""

    groups: list[RolloutGroup]
    usage: Mapping[str, Usage]  # by stream; empty for a manager without a language model


def play_managers(
    episodes: Sequence[Episode],
    warm_start: dict[str, Any],
    trained: dict[str, Any],
    evaluation: EvaluationConfig,
    recipe: Recipe,
    reader_config: ReaderConfig,
) -> dict[str, Played]:
    """One rollout of every stream by every manager asked for, in the order of evaluation.managers.

    What a language model has played before is read back, batch by batch: decoding is greedy, so that it would only be
    played again, and a run that was killed goes on where it stopped. A batch in which an answer failed is not kept, as
    it may succeed the next time.
    `imitation` is left out, and said so, where training.warm_start asked for none.
    """
    reader = wiring.reader(reader_config)
    readers = {"long_context": wiring.whole_reader(reader)}
    folders: dict[str, str | None] = {
        "untrained": "",
        "warm_started": warm_start["warm"],
        "imitation": warm_start["imitation"],
        "trained": trained["adapter"],
    }
    weights = {name: folder for name, folder in folders.items() if folder is not None}
    builders: dict[str, Callable[[], Manager]] = {
        **_without_a_model(evaluation, recipe),
        **_with_the_generator(evaluation, recipe, reader_config),
        **{name: partial(_policy, folder, recipe, reader_config) for name, folder in weights.items()},
    }
    spoken_by: dict[str, Any] = dict.fromkeys(MODEL_MANAGERS, _speaks(evaluation))
    for name, folder in weights.items():
        spoken_by[name] = fingerprint.weights(Path(folder)) if folder else ""
    conditions = {
        "recipe": recipe.model_dump(mode="json", include=PLAYED_BY),
        "reader": wiring.reader_identity(reader_config, reader),
        "base_model": fingerprint.base_model(recipe.model),
        "code": fingerprint.code("generation/endpoint.py"),
        "libraries": fingerprint.libraries(),
    }
    count_tokens = wiring.count_tokens(recipe.model)
    played: dict[str, Played] = {}
    for name in evaluation.managers:
        if name not in builders:
            log.warning("%s: there is none, training.warm_start.imitation_steps asked for none", name)
            continue
        manager = _Late(builders[name])
        parts: list[Played] = []
        with Bar(f"evaluating {name}", len(episodes)) as bar:
            for first in range(0, len(episodes), evaluation.batch):
                batch = episodes[first : first + evaluation.batch]
                kept = None
                if name in spoken_by:
                    key = digest(conditions, spoken_by[name], fingerprint.streams(batch))
                    kept = JsonLinesDataset(filepath=str(PLAYED / f"{name}-{key}.jsonl.gz"))
                parts.append(_play(batch, manager, readers.get(name, reader), count_tokens, kept))
                bar.at(first + len(batch))
        if not manager.built and name in spoken_by:
            log.info("%s: the same weights have played the same streams before, read back", name)
        groups = [group for part in parts for group in part.groups]
        played[name] = Played(groups, {stream: spent for part in parts for stream, spent in part.usage.items()})
    return played


@dataclass
class _Late:
    """A manager that is built when it is needed: its weights may never have to be loaded."""

    build: Callable[[], Manager]

    @property
    def built(self) -> bool:
        return "manager" in self.__dict__

    @cached_property
    def manager(self) -> Manager:
        return self.build()


def _play(
    batch: Sequence[Episode],
    late: _Late,
    reader: Reader,
    count_tokens: CountTokens,
    kept: JsonLinesDataset | None,
) -> Played:
    """One rollout of every stream of the batch, read back from `kept` if it is there."""
    if kept is not None and kept.exists():
        rows = kept.load()
        rollouts = [decode_rollout(row["rollout"]) for row in rows]
        return Played(
            [RolloutGroup(each.episode_id, (each,)) for each in rollouts],
            {each.episode_id: Usage(**row["usage"]) for each, row in zip(rollouts, rows, strict=True)},
        )
    before = dict(usage_by_stream(late.manager))
    groups = play(batch, late.manager, reader, count_tokens, ask_chunks=False)
    after = usage_by_stream(late.manager)
    usage = {each.id: after[each.id].since(before.get(each.id, Usage())) for each in batch if each.id in after}
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    if kept is not None and all(answer.score is not None for rollout in rollouts for answer in rollout.answers):
        kept.save(
            {"rollout": encode_rollout(rollout), "usage": asdict(usage.get(rollout.episode_id, Usage()))}
            for rollout in rollouts
        )
    return Played(groups, usage)


def _without_a_model(evaluation: EvaluationConfig, recipe: Recipe) -> dict[str, Callable[[], Manager]]:
    return {
        "no_memory": NoMemory,
        "raw_chunks": RawChunks,
        "sentences": SentenceCopier,
        "latest_wins": LatestWins,
        "long_context": lambda: LongContext(wiring.count_tokens(recipe.model), evaluation.window),
    }


def _with_the_generator(
    evaluation: EvaluationConfig, recipe: Recipe, reader_config: ReaderConfig
) -> dict[str, Callable[[], Manager]]:
    """Managers that ask the language model of evaluation.generator."""

    def asking(make: Callable[..., Manager], **more: Any) -> Callable[[], Manager]:
        def build() -> Manager:
            generator, sampling = _language_model(evaluation, recipe)
            return make(generator, sampling, wiring.count_tokens(recipe.model), **more)

        return build

    def searching(make: Callable[..., Manager]) -> Callable[[], Manager]:
        return lambda: asking(make, retriever=wiring.retriever(reader_config))()

    def prompted() -> Manager:
        generator, sampling = _language_model(evaluation, recipe)
        return PolicyManager(generator, wiring.prompter(recipe, reader_config), sampling)

    return {
        "prompted": prompted,
        "overwrite_style": asking(OverwriteStyle, limit=recipe.memory_tokens),
        "compact_style": asking(CompactStyle, limit=recipe.memory_tokens),
        "three_tier_style": asking(ThreeTierStyle),
        "fact_list_style": searching(FactListStyle),
        "linked_notes_style": searching(LinkedNotesStyle),
    }


def _language_model(evaluation: EvaluationConfig, recipe: Recipe) -> tuple[Generator, Sampling]:
    if evaluation.generator is not None:
        return wiring.generator(evaluation.generator), wiring.sampling(evaluation.generator)
    return _weights("", recipe), _greedy(recipe)


def _speaks(evaluation: EvaluationConfig) -> dict[str, Any]:
    """What the replies of evaluation.generator depend on."""
    chosen = evaluation.generator
    if chosen is None:
        return {}
    return {**chosen.model_dump(mode="json", exclude=HOW_FAST), "files": fingerprint.base_model(chosen.model)}


def _policy(folder: str, recipe: Recipe, reader_config: ReaderConfig) -> PolicyManager:
    return PolicyManager(_weights(folder, recipe), wiring.prompter(recipe, reader_config), _greedy(recipe))


def _weights(folder: str, recipe: Recipe) -> Generator:
    from finemem_pipeline.training.policy import finished_policy

    return finished_policy(
        recipe.model, Path(folder) if folder else None, recipe.precision, adapter=recipe.lora is not None
    )


def _greedy(recipe: Recipe) -> Sampling:
    return Sampling(max_tokens=recipe.max_completion_tokens, temperature=0.0)
