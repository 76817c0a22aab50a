"""The result of an evaluation as one JSON document: what the printed table, the report and the tracking store read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from finemem_pipeline.errors import FinememError, unknown
from finemem_pipeline.evaluation.aggregate import Cell, by_source, by_task, mean_over_sources, question_mean
from finemem_pipeline.evaluation.bootstrap import (
    Difference,
    Interval,
    paired_difference,
    score_interval,
    tokens_interval,
)
from finemem_pipeline.evaluation.results import OPERATIONS, StreamResult

VERSION = 1

DEFINITIONS: Mapping[str, str] = {
    "score": "Mean of the question scores, each between 0 and 1: over the questions of a stream, then over the "
    "streams of a source, then over the sources. Every stream of a source weighs the same, and so does every source.",
    "question mean": "Plain mean over all scored questions, whatever their stream.",
    "memory tokens": "Length of the memory after the last chunk, in tokens of the policy's tokenizer; averaged like "
    "the score, but over all streams.",
    "n": "Questions with a score.",
    "unscored": "Questions whose answer could not be had or judged. They are left out of every mean, never counted "
    "as 0.",
    "sources": "Sources with at least one scored question, of those in the table. Means over different sources "
    "should not be compared.",
    "difference": "The manager's score minus the reference's, on the questions that both have scored.",
    "interval": "Percentile interval of a paired bootstrap: streams are drawn within each source, and questions within "
    "each stream. A source with one stream is judged by its questions alone.",
    "detectable": "The smallest true difference that a comparison of this size would show four times in five.",
    "refused": "Share of the operations that named an item that is not there, or had no text.",
    "malformed": "Share of all written fragments that were no operation.",
}


def evaluate_table(
    results: Sequence[StreamResult],
    reference: str | Sequence[str],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Scores, memory and differences of all managers in `results`, in their order of appearance.

    `reference` names the manager, or managers, that the others are compared with; the first is the one that a
    table shows. Keys of the document:

    - `managers`, `references`, `sources`, `tasks`: names, in order
    - `rows`: one per manager: `manager`, `mean` (a cell with `low`, `high`, `tokens_low`, `tokens_high` beside it),
      `question_mean`, `sources` and `tasks` (a cell by name; absent where nothing was played) and `conduct`
    - `differences`: one per reference, other manager and scope ("mean", or "source" or "task" with its `name`)
    - `bootstrap`, `definitions`, `version`

    Raises FinememError for a reference that is not among the managers.
    """
    managers: dict[str, list[StreamResult]] = {}
    for result in results:
        managers.setdefault(result.manager, []).append(result)
    references = [reference] if isinstance(reference, str) else list(reference)
    for name in references:
        if name not in managers:
            raise FinememError(unknown("evaluation reference", name, managers, what="manager of this evaluation"))
    sources = list(dict.fromkeys(result.source for result in results))
    tasks = list(dict.fromkeys(result.task for result in results))
    drawing = {"resamples": resamples, "seed": seed, "level": level}

    def compare(manager: str, against: str, scope: str, name: str) -> dict[str, Any]:
        def within(of: str) -> list[StreamResult]:
            return [r for r in managers[of] if scope == "mean" or name == getattr(r, scope)]

        difference = paired_difference(within(manager), within(against), resamples=resamples, seed=seed, level=level)
        return {"manager": manager, "reference": against, "scope": scope, "name": name, **_difference(difference)}

    scopes = [("mean", ""), *(("source", source) for source in sources), *(("task", task) for task in tasks)]
    return {
        "version": VERSION,
        "managers": list(managers),
        "references": references,
        "sources": sources,
        "tasks": tasks,
        "rows": [
            {
                "manager": manager,
                "mean": {
                    **asdict(mean_over_sources(own, sources)),
                    **_interval("", score_interval(own, resamples=resamples, seed=seed, level=level)),
                    **_interval("tokens_", tokens_interval(own, resamples=resamples, seed=seed, level=level)),
                },
                "question_mean": question_mean(own),
                "sources": _cells(by_source(own)),
                "tasks": _cells(by_task(own)),
                "conduct": _conduct(own),
            }
            for manager, own in managers.items()
        ],
        "differences": [
            compare(manager, against, scope, name)
            for against in references
            for manager in managers
            if manager != against
            for scope, name in scopes
        ],
        "bootstrap": drawing,
        "definitions": dict(DEFINITIONS),
    }


def _cells(cells: Mapping[str, Cell]) -> dict[str, dict[str, Any]]:
    return {name: asdict(cell) for name, cell in cells.items()}


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        **asdict(difference),
        "excludes_zero": difference.excludes_zero,
        "detectable": difference.detectable,
    }


def _interval(prefix: str, interval: Interval | None) -> dict[str, float | None]:
    return {
        f"{prefix}low": interval.low if interval else None,
        f"{prefix}high": interval.high if interval else None,
    }


def _conduct(streams: Sequence[StreamResult]) -> dict[str, Any]:
    """What the manager wrote, over all its streams: operations by kind, and the shares refused and malformed."""
    operations = {kind: sum(stream.operations.get(kind, 0) for stream in streams) for kind in OPERATIONS}
    malformed = sum(stream.malformed for stream in streams)
    written = sum(operations.values())
    return {
        "steps": sum(stream.steps for stream in streams),
        "operations": operations,
        "refused_share": sum(stream.refused for stream in streams) / written if written else None,
        "malformed_share": malformed / (written + malformed) if written + malformed else None,
    }
