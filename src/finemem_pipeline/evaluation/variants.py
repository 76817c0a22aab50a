"""Reward variants side by side, as one JSON document. Nothing in it differs between two runs of the same comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from finemem_pipeline.evaluation.aggregate import mean_over_sources
from finemem_pipeline.evaluation.practice import Update, curve
from finemem_pipeline.evaluation.results import StreamResult, rebuilds_merged
from finemem_pipeline.evaluation.table import evaluate_table

BEFORE = "warm_started"
"""The manager that every training began from."""


@dataclass(frozen=True, slots=True)
class Training:
    """One variant with one seed: what it practised, and what it scored on held-out streams then."""

    variant: str
    seed: int
    updates: Sequence[Update]
    results: Sequence[StreamResult]


def compare_trainings(
    trainings: Sequence[Training],
    others: Sequence[StreamResult],
    steps: int,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """`table` is the document of `evaluate_table` with a row per variant, then one per manager among `others`; its
    references are the last variant, if there are several, and the warm start, if it was played. `trainings` has the
    cell of every training alone, `curves` the points of `practice.curve` by variant.
    """
    by_variant: dict[str, list[Training]] = {}
    for training in trainings:
        by_variant.setdefault(training.variant, []).append(training)
    rows = [result for name, some in by_variant.items() for each in some for result in _called(name, each.results)]
    drawing: dict[str, Any] = {"resamples": resamples, "seed": seed, "level": level}
    last, played = list(by_variant)[-1], {result.manager for result in others}
    references = [*([last] if len(by_variant) > 1 else []), *([BEFORE] if BEFORE in played else [])]
    table = evaluate_table([*rows, *others], references or [last], **drawing)
    return {
        "steps": steps,
        "variants": list(by_variant),
        "seeds": sorted({training.seed for training in trainings}),
        "table": {**table, "rows": [_same_every_time(row) for row in table["rows"]]},
        "trainings": [
            {"variant": each.variant, "seed": each.seed, **asdict(mean_over_sources(rebuilds_merged(each.results)))}
            for each in trainings
        ],
        "curves": {name: curve([each.updates for each in some], steps, **drawing) for name, some in by_variant.items()},
    }


def _called(name: str, results: Iterable[StreamResult]) -> list[StreamResult]:
    """The results of a trained policy under the name of its variant."""
    return [
        replace(result, manager=name, questions=tuple(replace(q, manager=name) for q in result.questions))
        for result in results
    ]


def _same_every_time(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without what it cost: seconds are never the same."""
    return {name: value for name, value in row.items() if name != "cost"}
