"""Sentences of the evaluate pipeline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finemem_pipeline import wiring
from finemem_pipeline.benchmarks import BENCHMARKS, FINDERS
from finemem_pipeline.benchmarks.streams import limited
from finemem_pipeline.config import DataConfig, EvaluationConfig, ReaderConfig, Recipe
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import FinememError
from finemem_pipeline.evaluation import results
from finemem_pipeline.evaluation.table import evaluate_table
from finemem_pipeline.pipelines.data.nodes import EXPECTATIONS
from finemem_pipeline.records import decode_rollout, encode_rollout
from finemem_pipeline.reporting.report import write_report
from finemem_pipeline.reporting.sample import sample_stream
from finemem_pipeline.training.runs import Run
from finemem_pipeline.validation.describe import describe_inputs
from finemem_pipeline.validation.expectations import read_suites, validate_sets

HELD_OUT_DOCS = Path("data/08_reporting/held_out_docs")
REPORT = Path("data/08_reporting/report.html")
SAMPLED_STREAMS = 2

log = logging.getLogger(__name__)


def held_out_streams(
    train: list[Episode],
    test: list[Episode],
    training_summary: dict[str, Any],
    evaluation: EvaluationConfig,
    data: DataConfig,
) -> tuple[list[Episode], dict[str, Any]]:
    """The test streams; or those of evaluation.path, cut as the training streams were, checked and recorded.

    The record is empty for the test streams: they are part of what `data` recorded. (Kedro saves no None.)
    """
    if evaluation.path is None:
        return limited(test, evaluation.limit), {}
    cut = wiring.chunk_cutter(data, Recipe(**training_summary["recipe_settings"]))
    own = [cut(episode) for episode in BENCHMARKS[evaluation.source](evaluation.path, "test")]
    sets = {"train": train, "held_out": own}
    validate_sets(sets, read_suites(EXPECTATIONS), HELD_OUT_DOCS)
    files = FINDERS[evaluation.source](evaluation.path, "test")
    return limited(own, evaluation.limit), describe_inputs(evaluation.path.name, files, {"held_out": own})


def play_held_out(
    episodes: list[Episode],
    warm_start: dict[str, Any],
    training_summary: dict[str, Any],
    evaluation: EvaluationConfig,
    reader: ReaderConfig,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every manager on every stream, greedily: the scores, and the rollouts they come from."""
    from finemem_pipeline.pipelines.evaluate.managers import play_managers

    if warm_start["warm"] != training_summary["warm_start"]:
        raise FinememError(
            f"the trained policy began from {training_summary['warm_start']}, the warm start at hand is "
            f"{warm_start['warm']}: training was not finished with it. Run kedro run --pipelines=train first."
        )
    recipe = Recipe(**training_summary["recipe_settings"])
    played = play_managers(episodes, warm_start, training_summary, evaluation, recipe, reader)
    scored = [row for name, groups in played.items() for row in results.results_from_rollouts(name, episodes, groups)]
    rollouts = [
        {"manager": name, "rollout": encode_rollout(rollout)}
        for name, groups in played.items()
        for group in groups
        for rollout in group.rollouts
    ]
    return results.encode(scored), rollouts


def compare_managers(scored: list[dict[str, Any]], evaluation: EvaluationConfig) -> dict[str, Any]:
    """The table: each manager's score and memory, and its paired difference to the references."""
    rows = results.decode(scored)
    played = list(dict.fromkeys(row.manager for row in rows))
    references = [name for name in ("warm_started", "trained") if name in played] or played[:1]
    return evaluate_table(rows, references, resamples=evaluation.resamples, seed=evaluation.seed)


def write_report_page(
    table: dict[str, Any],
    rollouts: list[dict[str, Any]],
    episodes: list[Episode],
    held_out_record: dict[str, Any],
    training_summary: dict[str, Any],
    input_record: dict[str, Any],
) -> str:
    """The report as one HTML page; returns its path."""
    rows = Run(Path(training_summary["folder"])).metrics()
    curves = [row for row in rows if row["step"] <= training_summary["steps"]]
    context = {
        "title": f"{training_summary['variant']} on {input_record['name']}",
        "run": wiring.provenance(training_summary, input_record, held_out_record),
        "samples": _samples(table["managers"], rollouts, episodes),
    }
    written = write_report(REPORT, table, curves, context)
    return str(written.resolve())


def _samples(
    managers: Sequence[str], rollouts: Sequence[dict[str, Any]], episodes: Sequence[Episode]
) -> list[dict[str, Any]]:
    """What the manager of most interest did on the first streams."""
    shown = "trained" if "trained" in managers else managers[0]
    wanted = {episode.id: episode for episode in episodes[:SAMPLED_STREAMS]}
    played = [decode_rollout(row["rollout"]) for row in rollouts if row["manager"] == shown]
    return [sample_stream(shown, wanted[each.episode_id], each) for each in played if each.episode_id in wanted]
