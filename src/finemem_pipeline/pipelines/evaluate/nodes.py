"""Sentences of the evaluate pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finemem_pipeline import store, wiring
from finemem_pipeline.benchmarks import FINDERS
from finemem_pipeline.benchmarks.streams import limited, read_set
from finemem_pipeline.benchmarks.tokens import approximate_tokens
from finemem_pipeline.config import (
    BenchmarksConfig,
    DataConfig,
    EvaluationConfig,
    ReaderConfig,
    Recipe,
    RecipesConfig,
    TrainingConfig,
)
from finemem_pipeline.datasets import JsonLinesDataset
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import FinememError
from finemem_pipeline.evaluation import results
from finemem_pipeline.evaluation.estimate import estimate
from finemem_pipeline.evaluation.table import CLOSED_BOOK, evaluate_table
from finemem_pipeline.pipelines.data.nodes import EXPECTATIONS
from finemem_pipeline.pipelines.evaluate.playing import Played, names, results_of
from finemem_pipeline.reporting.record import write_record
from finemem_pipeline.reporting.report import write_report
from finemem_pipeline.reporting.sample import sample_stream
from finemem_pipeline.training.runs import Run
from finemem_pipeline.validation.describe import describe_inputs
from finemem_pipeline.validation.expectations import read_suites, validate_sets

HELD_OUT_DOCS = Path("data/08_reporting/held_out_docs")
REPORT = Path("data/08_reporting/report.html")
RECORD = Path("data/08_reporting/table.html")
SAMPLED_STREAMS = 2

Streams = dict[str, list[Episode]]
"""By benchmark."""


def held_out_streams(
    train: list[Episode],
    test: list[Episode],
    training_summary: dict[str, Any],
    evaluation: EvaluationConfig,
    benchmarks: BenchmarksConfig,
    data: DataConfig,
    training: TrainingConfig,
    recipes: RecipesConfig,
) -> tuple[Streams, dict[str, Any]]:
    """The streams of every benchmark asked for, cut as the training streams were; those that `data` has not read are
    checked and recorded.

    The record is empty for the test streams: they are part of what `data` recorded. (Kedro saves no None.)
    """
    cut = wiring.chunk_cutter(data, _recipe(training_summary, training, recipes))
    chosen = evaluation.held_out(benchmarks)
    own = {
        name: [cut(episode) for episode in read_set(each.source, each.path, each.split, each.sources)]
        for name, each in chosen.items()
        if each is not None
    }
    streams = {name: limited(own.get(name, test), evaluation.limit) for name in chosen}
    if not own:
        return streams, {}
    trained = {"train": train} if train else {}
    with store.leaving(HELD_OUT_DOCS):
        validate_sets(trained | own, read_suites(EXPECTATIONS), HELD_OUT_DOCS)
    read = [each for each in chosen.values() if each is not None]
    files = dict.fromkeys(file for each in read for file in FINDERS[each.source](each.path, each.split))
    return streams, describe_inputs("+".join(own), files, own)


def estimate_cost(
    streams: Streams,
    training_summary: dict[str, Any],
    evaluation: EvaluationConfig,
    reader: ReaderConfig,
    training: TrainingConfig,
    recipes: RecipesConfig,
) -> dict[str, Any]:
    """What the evaluation will cost at most, by the rates of evaluation.rates."""
    rates = wiring.rates(evaluation)
    return estimate(
        streams,
        {name: wiring.passes(name, evaluation) for name in evaluation.managers},
        manager=rates["manager"],
        reader=rates["reader"],
        memory_tokens=_recipe(training_summary, training, recipes).memory_tokens,
        window=evaluation.window,
        k=reader.k,
        count_tokens=approximate_tokens,
    )


def play_held_out(
    streams: Streams,
    warm_start: dict[str, Any],
    training_summary: dict[str, Any],
    evaluation: EvaluationConfig,
    reader: ReaderConfig,
    training: TrainingConfig,
    recipes: RecipesConfig,
) -> tuple[list[dict[str, Any]], Iterator[dict[str, Any]], dict[str, Any]]:
    """Every manager on every stream: the scores, the rollouts they come from, and what the reader did."""
    from finemem_pipeline.pipelines.evaluate.managers import play_managers

    if training_summary and warm_start["warm"] != training_summary["warm_start"]:
        raise FinememError(
            f"the trained policy began from {training_summary['warm_start']}, the warm start at hand is "
            f"{warm_start['warm']}: training was not finished with it. Run kedro run --pipelines=train first."
        )
    recipe = _recipe(training_summary, training, recipes)
    usage: Counter[str] = Counter()
    scored: list[results.StreamResult] = []
    samples: dict[str, list[dict[str, Any]]] = {}
    kept: list[tuple[dict[str, Any], Path]] = []
    asked = wiring.reader(reader)
    for played in play_managers(streams, warm_start, training_summary, evaluation, recipe, reader, asked):
        scored += results_of(played, wiring.count_tokens(recipe.model))
        usage.update(asdict(played.asked))
        kept.append((names(played), played.file))
        samples.setdefault(played.player.name, []).extend(_samples(played, samples))
    shown = "trained" if "trained" in samples else next(iter(samples))
    notes = {"usage": dict(usage), "samples": samples[shown]}
    return results.encode(scored), _rollouts(kept), notes


def compare_managers(
    scored: list[dict[str, Any]],
    notes: dict[str, Any],
    train: list[Episode],
    training_summary: dict[str, Any],
    evaluation: EvaluationConfig,
) -> dict[str, Any]:
    """The table: each manager's score, memory and cost, and its paired difference to the references."""
    rows = results.decode(scored)
    played = list(dict.fromkeys(row.manager for row in rows))
    references = [name for name in ("warm_started", "trained") if name in played]
    longest = None
    if training_summary:
        count = wiring.count_tokens(training_summary["model"])
        longest = max((sum(count(chunk.text) for chunk in episode.chunks) for episode in train), default=None)
    return evaluate_table(
        rows,
        references or [next((name for name in played if name != CLOSED_BOOK), played[0])],
        resamples=evaluation.resamples,
        seed=evaluation.seed,
        longest_trained=longest,
        usage=notes["usage"],
    )


def write_report_page(
    table: dict[str, Any],
    notes: dict[str, Any],
    held_out_record: dict[str, Any],
    training_summary: dict[str, Any],
    input_record: dict[str, Any],
) -> str:
    """The report as one HTML page; returns its path."""
    curves = []
    title = "Managers on " + " and ".join(table["benchmarks"])
    if training_summary:
        run = Run(Path(training_summary["folder"]))
        store.fetch(run.metrics_file)
        rows = run.metrics()
        curves = [row for row in rows if row["step"] <= training_summary["steps"]]
        title = f"{training_summary['variant']} on {input_record.get('name', ' and '.join(table['benchmarks']))}"
    context = {
        "title": title,
        "run": wiring.provenance(training_summary, input_record, held_out_record),
        "samples": notes["samples"],
    }
    written = write_report(REPORT, table, curves, context)
    store.put(written)
    return str(written)


def write_table_of_record(
    table: dict[str, Any],
    held_out_record: dict[str, Any],
    training_summary: dict[str, Any],
    input_record: dict[str, Any],
    evaluation: EvaluationConfig,
    benchmarks: BenchmarksConfig,
) -> dict[str, str]:
    """The table in the layout of the published ones, ours beside theirs: where its page and its CSV are."""
    loaders = {name: each.source for name, each in evaluation.held_out(benchmarks).items() if each is not None}
    run = wiring.provenance(training_summary, input_record, held_out_record)
    page, csv = write_record(RECORD, table, loaders, run)
    store.put(page, csv)
    return {"page": str(page), "csv": str(csv)}


def _recipe(training_summary: Mapping[str, Any], training: TrainingConfig, recipes: RecipesConfig) -> Recipe:
    """That of what was trained; where nothing was, the one that would be."""
    if not training_summary:
        return recipes.recipe(training.recipe)
    try:
        return Recipe(**training_summary["recipe_settings"])
    except (KeyError, ValidationError) as error:
        raise FinememError(
            f"{training_summary.get('folder')}: trained by another version of this project, which noted its recipe in "
            "another way. Train again, kedro run --pipelines=train, or move training.json out of data/06_models."
        ) from error


def _samples(played: Played, before: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """What the manager did on the first streams, as long as there are not enough of them."""
    room = SAMPLED_STREAMS - len(before.get(played.player.name, ()))
    pairs = list(zip(played.batch.episodes, played.rollouts, strict=True))[: max(0, room)]
    return [sample_stream(played.player.name, episode, rollout) for episode, rollout in pairs]


def _rollouts(kept: Sequence[tuple[dict[str, Any], Path]]) -> Iterator[dict[str, Any]]:
    """All rollouts as they lie on disk, one batch in memory at a time."""
    for named, file in kept:
        _, *rows = JsonLinesDataset(filepath=str(file)).load()
        for row in rows:
            yield {**named, "rollout": row}
