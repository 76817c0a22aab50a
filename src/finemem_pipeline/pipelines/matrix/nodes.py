"""Sentences of the matrix pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finemem_pipeline import progress, store, wiring
from finemem_pipeline.config import (
    BenchmarksConfig,
    DataConfig,
    EvaluationConfig,
    MatrixConfig,
    ReaderConfig,
    RecipesConfig,
    RewardsConfig,
    TrainingConfig,
)
from finemem_pipeline.episodes import Episode
from finemem_pipeline.evaluation import results
from finemem_pipeline.evaluation.matrix import CellResults, join
from finemem_pipeline.pipelines.evaluate import nodes as evaluate
from finemem_pipeline.pipelines.evaluate.playing import results_of
from finemem_pipeline.pipelines.train import nodes as train
from finemem_pipeline.reporting.matrix import write_matrix

PAGE = Path("data/08_reporting/matrix.html")

Record = dict[str, Any]


def matrix_streams(
    train_set: list[Episode],
    test_set: list[Episode],
    evaluation: EvaluationConfig,
    benchmarks: BenchmarksConfig,
    data: DataConfig,
    training: TrainingConfig,
    recipes: RecipesConfig,
) -> tuple[evaluate.Streams, Record]:
    """The same streams for every cell, cut as `data` cut those to train on."""
    return evaluate.held_out_streams(train_set, test_set, {}, evaluation, benchmarks, data, training, recipes)


def train_backbones(
    episodes: list[Episode],
    held_out: list[Episode],
    matrix: MatrixConfig,
    training: TrainingConfig,
    evaluation: EvaluationConfig,
    recipes: RecipesConfig,
    rewards: RewardsConfig,
    reader: ReaderConfig,
) -> dict[str, Record]:
    """By backbone where its warm start and its policy are; what is trained already is found, not trained again.

    Trainings with evaluation.training_seeds stand beside that of training.seed, which is the one named.
    """
    policies = {}
    for backbone in matrix.backbones:
        for seed in dict.fromkeys([*evaluation.training_seeds, training.seed]):
            own = training.model_copy(update={"recipe": backbone, "seed": seed})
            with progress.under(f"{backbone}/seed_{seed}"):
                warm_start = train.warm_start_policy(episodes, held_out, own, recipes, reader)
                trained = train.train_policy(episodes, warm_start, own, recipes, rewards, reader)
            if seed == training.seed:
                policies[backbone] = {"warm_start": warm_start, "trained": trained}
    return policies


def play_cells(
    streams: evaluate.Streams,
    policies: dict[str, Record],
    matrix: MatrixConfig,
    evaluation: EvaluationConfig,
    recipes: RecipesConfig,
    reader: ReaderConfig,
) -> list[Record]:
    """Every stream played once per backbone and manager, and answered by each reader."""
    from finemem_pipeline.pipelines.evaluate.managers import play_managers

    chosen = evaluation.model_copy(update={"managers": matrix.managers})
    found: list[CellResults] = []
    for name in matrix.readers.root:
        config = matrix.readers.reader(name, reader)
        asked = wiring.reader(config)
        for backbone, made in policies.items():
            recipe = recipes.recipe(backbone)
            played = play_managers(
                streams, made["warm_start"], made["trained"], chosen, recipe, config, asked, shown_by=reader
            )
            count = wiring.count_tokens(recipe.model)
            found.append(CellResults(backbone, name, tuple(r for each in played for r in results_of(each, count))))
    return [
        {"backbone": cell.backbone, "reader": cell.reader, "result": row}
        for cell in found
        for row in results.encode(cell.results)
    ]


def join_cells(rows: list[Record], evaluation: EvaluationConfig) -> Record:
    """Every cell's table, and whether what training gains has the same sign in all of them."""
    cells: dict[tuple[str, str], list[Record]] = {(row["backbone"], row["reader"]): [] for row in rows}
    for row in rows:
        cells[row["backbone"], row["reader"]].append(row["result"])
    return join(
        [CellResults(*place, tuple(results.decode(own))) for place, own in cells.items()],
        resamples=evaluation.resamples,
        seed=evaluation.seed,
    )


def write_matrix_page(
    table: Record,
    policies: dict[str, Record],
    held_out_record: Record,
    input_record: Record,
    matrix: MatrixConfig,
    reader: ReaderConfig,
) -> dict[str, str]:
    """The joined table as a page and as a CSV: where they are."""
    [trained, *_] = (made["trained"] for made in policies.values())
    run = wiring.provenance(trained, input_record, held_out_record)
    models = {name: made["trained"]["model"] for name, made in policies.items()}
    told = {
        **{name: value for name, value in run.items() if name not in ("recipe", "base model")},
        "backbones": ", ".join(f"{name} ({model})" for name, model in models.items()),
        "trained with": _told(reader),
        "readers": "; ".join(f"{name}: {_told(matrix.readers.reader(name, reader))}" for name in matrix.readers.root),
    }
    page, csv = write_matrix(PAGE, table, told)
    store.put(page, csv)
    return {"page": str(page), "csv": str(csv)}


def _told(reader: ReaderConfig) -> str:
    """extractive, k = 2"""
    model = getattr(reader.reasoner, "model", None)
    return f"{reader.reasoner.kind}{f' {model}' if model else ''}, {reader.retriever.kind}, k = {reader.k}"
