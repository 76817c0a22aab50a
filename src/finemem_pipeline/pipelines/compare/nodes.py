"""Sentences of the compare pipeline. Those of a child are made for it: which variant and which seed is no data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from finemem_pipeline import store, wiring
from finemem_pipeline.benchmarks.streams import limited
from finemem_pipeline.config import (
    BenchmarksConfig,
    Child,
    CompareConfig,
    DataConfig,
    EvaluationConfig,
    ReaderConfig,
    Recipe,
    RecipesConfig,
    RewardsConfig,
    TrainingConfig,
)
from finemem_pipeline.episodes import Episode
from finemem_pipeline.evaluation import results
from finemem_pipeline.evaluation.practice import Update, decode_updates, encode_updates, practice, shares
from finemem_pipeline.evaluation.table import evaluate_table
from finemem_pipeline.evaluation.variants import Training, compare_trainings
from finemem_pipeline.pipelines.compare import maps
from finemem_pipeline.pipelines.evaluate import nodes as evaluate
from finemem_pipeline.pipelines.evaluate.playing import Played, results_of
from finemem_pipeline.pipelines.train import nodes as train
from finemem_pipeline.reasoning.probes import Sample
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reporting.comparison import write_comparison
from finemem_pipeline.training.played import read_update
from finemem_pipeline.training.runs import Run

PAGE = Path("data/08_reporting/compare.html")

Streams = evaluate.Streams
Record = dict[str, Any]


def held_out_streams(
    train_set: list[Episode],
    test_set: list[Episode],
    evaluation: EvaluationConfig,
    benchmarks: BenchmarksConfig,
    data: DataConfig,
    training: TrainingConfig,
    recipes: RecipesConfig,
) -> tuple[Streams, Record]:
    """The streams that everybody is evaluated on, and their record where `data` has not made one."""
    return evaluate.held_out_streams(train_set, test_set, {}, evaluation, benchmarks, data, training, recipes)


def warm_start_policy(
    episodes: list[Episode],
    held_out: list[Episode],
    training: TrainingConfig,
    recipes: RecipesConfig,
    reader: ReaderConfig,
) -> Record:
    """The weights that every child begins from. The imitation to convergence is no part of a comparison."""
    return train.warm_start_policy(episodes, held_out, _without_imitation(training), recipes, reader)


def play_references(
    streams: Streams,
    warm_start: Record,
    compare: CompareConfig,
    evaluation: EvaluationConfig,
    reader: ReaderConfig,
    training: TrainingConfig,
    recipes: RecipesConfig,
) -> list[Record]:
    """What the managers score that no child trains."""
    if not compare.managers:
        return []
    untrained = {"adapter": warm_start["warm"], "seed": None}  # a training of no updates
    recipe, asked = recipes.recipe(training.recipe), wiring.reader(reader)
    count = wiring.count_tokens(recipe.model)
    everything = _played(compare.managers, streams, warm_start, untrained, evaluation, recipe, reader, asked)
    return results.encode(result for played in everything for result in results_of(played, count))


def training_of(child: Child) -> Callable[..., Record]:
    """The node that trains it."""

    def train_policy(
        episodes: list[Episode],
        warm_start: Record,
        compare: CompareConfig,
        training: TrainingConfig,
        recipes: RecipesConfig,
        rewards: RewardsConfig,
        reader: ReaderConfig,
    ) -> Record:
        """Where the child's weights, metrics and rollouts are; from where it stopped, if it did."""
        own = {"reward": child.variant, "seed": child.seed, "steps": compare.steps}
        settings = _without_imitation(training).model_copy(update=own)
        return train.train_policy(episodes, warm_start, settings, recipes, rewards, reader)

    return train_policy


def account_of(child: Child) -> Callable[..., tuple[list[Record], list[Record]]]:
    """The node that tells how its training went."""

    def tell_training(
        training_summary: Record, episodes: list[Episode], rewards: RewardsConfig
    ) -> tuple[list[Record], list[Record]]:
        """What was scored and done at every update, and where the credit went on one stream of the first and last."""
        run, steps = Run(Path(training_summary["folder"])), training_summary["steps"]
        variant, by_id = rewards.variant(child.variant), {episode.id: episode for episode in episodes}
        store.fetch(run.metrics_file)
        store.fetch(run.rollouts_folder)
        updates: list[Update] = []
        credit: list[Record] = []
        for metrics in run.metrics()[:steps]:
            update = metrics["step"]
            played = read_update(run, update)
            results = practice(child.variant, child.seed, update, [each.group for each in played], by_id)
            updates.append(Update(update, shares(metrics), tuple(results)))
            if update in (1, steps):
                credit += maps.of_update(child, variant, update, by_id[played[0].group.episode_id], played[0])
        return encode_updates(updates), credit

    return tell_training


def playing_of(child: Child) -> Callable[..., tuple[list[Record], Record, list[Record]]]:
    """The node that plays held-out streams with what it has learned."""

    def play_held_out(
        streams: Streams,
        warm_start: Record,
        training_summary: Record,
        compare: CompareConfig,
        evaluation: EvaluationConfig,
        reader: ReaderConfig,
        rewards: RewardsConfig,
        training: TrainingConfig,
    ) -> tuple[list[Record], Record, list[Record]]:
        """What it scores, the same as a table, and where the credit went."""
        recipe = Recipe(**training_summary["recipe_settings"])
        asked, variant = wiring.reader(reader), rewards.variant(child.variant)
        sample = Sample(training.retention_questions, child.seed)
        shown = {stream.id for some in streams.values() for stream in limited(some, compare.map_streams)}
        scored: list[results.StreamResult] = []
        credit: list[Record] = []
        for played in _played(["trained"], streams, warm_start, training_summary, evaluation, recipe, reader, asked):
            scored += results_of(played, wiring.count_tokens(recipe.model))
            for stream, rollout in zip(played.batch.episodes, played.rollouts, strict=True):
                if stream.id in shown:
                    shown.remove(stream.id)  # its first rebuild is shown
                    credit.append(maps.of_held_out(child, variant, stream, rollout, asked, sample))
        table = evaluate_table(scored, "trained", resamples=evaluation.resamples, seed=evaluation.seed)
        return results.encode(scored), table, credit

    return play_held_out


def comparing(children: Sequence[Child]) -> Callable[..., Record]:
    """The node that sets them side by side."""

    def compare_variants(
        compare: CompareConfig, evaluation: EvaluationConfig, references: list[Record], *told: list[Record]
    ) -> Record:
        """Rows of the table, paired differences, and the curves of every variant. `told` has what each child
        practised, then what each scored.
        """
        trainings = [
            Training(child.variant, child.seed, decode_updates(practised), results.decode(scored))
            for child, practised, scored in zip(children, told[: len(children)], told[len(children) :], strict=True)
        ]
        return compare_trainings(
            trainings,
            results.decode(references),
            compare.steps,
            resamples=evaluation.resamples,
            seed=evaluation.seed,
        )

    return compare_variants


def write_comparison_page(
    comparison: Record,
    held_out_record: Record,
    input_record: Record,
    training: TrainingConfig,
    recipes: RecipesConfig,
    *credit: list[Record],
) -> str:
    """The comparison as one HTML page; returns its path."""
    run = {
        "recipe": training.recipe,
        "base model": recipes.recipe(training.recipe).model,
        "updates": str(comparison["steps"]),
        "training seeds": ", ".join(map(str, comparison["seeds"])),
        **wiring.provenance({}, input_record, held_out_record),
    }
    written = write_comparison(PAGE, comparison, run, [each for some in credit for each in some])
    store.put(written)
    return str(written)


def _without_imitation(training: TrainingConfig) -> TrainingConfig:
    return training.model_copy(update={"warm_start": training.warm_start.model_copy(update={"imitation_steps": 0})})


def _played(
    managers: list[str],
    streams: Streams,
    warm_start: Record,
    trained: Record,
    evaluation: EvaluationConfig,
    recipe: Recipe,
    reader_config: ReaderConfig,
    reader: Reader,
) -> Iterator[Played]:
    """Everything these managers play."""
    from finemem_pipeline.pipelines.evaluate.managers import play_managers

    chosen = evaluation.model_copy(update={"managers": managers, "training_seeds": []})
    return play_managers(streams, warm_start, trained, chosen, recipe, reader_config, reader)
