"""The result of an evaluation as one JSON document: what the printed table, the report and the tracking store read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from finemem_pipeline.errors import FinememError, unknown
from finemem_pipeline.evaluation.aggregate import (
    Cell,
    Column,
    by_benchmark,
    by_source,
    by_task,
    column,
    mean_over_sources,
)
from finemem_pipeline.evaluation.bootstrap import (
    Difference,
    ends,
    paired_difference,
    score_interval,
    tokens_interval,
)
from finemem_pipeline.evaluation.lengths import Bucket, buckets
from finemem_pipeline.evaluation.results import OPERATIONS, Spent, StreamResult, rebuilds_merged

VERSION = 2

CLOSED_BOOK = "no_memory"
"""The manager that tells what the reader knows by itself."""

DEFINITIONS: Mapping[str, str] = {
    "score": "Mean of the question scores, each between 0 and 1: over the questions of a stream, then over the "
    "streams of a source, then over the sources. Every stream of a source weighs the same, and so does every source.",
    "question mean": "Plain mean over all scored questions, whatever their stream.",
    "published": "The same mean, of the same answers, by the scorers of the published tables; shown where it differs. "
    "The score itself is by scorers without their faults.",
    "memory tokens": "Length of the memory after the last chunk, in tokens of the policy's tokenizer; averaged like "
    "the score, but over all streams.",
    "n": "Questions with a score.",
    "unscored": "Questions whose answer could not be had or judged. They are left out of every mean, never counted "
    "as 0.",
    "sources": "Sources with at least one scored question, of those in the table. Means over different sources "
    "should not be compared.",
    "difference": "The manager's score minus the reference's, on the questions that both have scored.",
    "interval": "Percentile interval of a paired bootstrap: training seeds are drawn, streams within each source, "
    "rebuilds and questions within each stream. A source with one stream is judged by its questions alone.",
    "detectable": "The smallest true difference that a comparison of this size would show four times in five.",
    "rebuilds": "How often a stream was played by a manager that samples, with another seed each time. A question's "
    "score is its mean over the rebuilds.",
    "closed-book gain": "The manager's score minus that of a reader without any memory, on the questions that both "
    "have scored.",
    "write cost": "What the manager's model did, over the questions asked: prompt and reply tokens, and calls.",
    "read cost": "What the reader was asked for a question: its words and the retrieved texts in, the reply out. "
    "Instructions are not counted, and an answer from the cache costs as much as a fresh one.",
    "length": "Tokens of the stream. Beyond training: every stream of the column is longer than all that the policy "
    "was trained on.",
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
    longest_trained: float | None = None,
    usage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Scores, memory, costs and differences of all managers in `results`, in their order of appearance.

    `reference` names the manager, or managers, that the others are compared with; the first is the one that a
    table shows. `longest_trained` is the longest training stream in tokens, `usage` what the reader did. Keys of the
    document:

    - `managers`, `references`, `benchmarks`, `sources`, `tasks`: names, in order. Where there are several benchmarks
      a source is named by its own too: realbench/locomo
    - `columns`: benchmark, source, task and name of every source
    - `rows`: one per manager: `manager`, `mean` (a cell with `low`, `high`, `tokens_low`, `tokens_high` beside it),
      `benchmarks` (a cell as that of `mean`), `sources`, `tasks` and
      `lengths` (a cell by name; absent where nothing was played), `cost` (of `mean` and of each source), `rebuilds`,
      `training_seeds` and `conduct`
    - `differences`: one per reference, other manager and scope ("mean", or "benchmark", "source" or "task" with its
      `name`)
    - `closed_book`: the same against no_memory, where it was played
    - `lengths`: name, streams and `beyond` (training) of each bucket of lengths
    - `usage`, `bootstrap`, `definitions`, `version`

    Raises FinememError for a reference that is not among the managers.
    """
    managers: dict[str, list[StreamResult]] = {}
    for result in results:
        managers.setdefault(result.manager, []).append(result)
    references = [reference] if isinstance(reference, str) else list(reference)
    for name in references:
        if name not in managers:
            raise FinememError(unknown("evaluation reference", name, managers, what="manager of this evaluation"))
    columns = {column(result): result.task for result in results}
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _ in columns))
    names = {place: place[1] if len(benchmarks) == 1 else "/".join(place) for place in columns}
    tasks = list(dict.fromkeys(columns.values()))
    lengths = buckets(results, longest_trained)
    drawing: dict[str, Any] = {"resamples": resamples, "seed": seed, "level": level}

    def compare(manager: str, against: str, scope: str, name: str) -> dict[str, Any]:
        def within(of: str) -> list[StreamResult]:
            return [r for r in managers[of] if scope == "mean" or name == _place(r, scope, names)]

        difference = paired_difference(within(manager), within(against), **drawing)
        return {"manager": manager, "reference": against, "scope": scope, "name": name, **_difference(difference)}

    def compare_all(against: str, scopes: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        return [compare(m, against, scope, name) for m in managers if m != against for scope, name in scopes]

    several = benchmarks if len(benchmarks) > 1 else []
    scopes = [("mean", ""), *(("benchmark", name) for name in several), *(("source", name) for name in names.values())]
    return {
        "version": VERSION,
        "managers": list(managers),
        "references": references,
        "benchmarks": benchmarks,
        "sources": list(names.values()),
        "tasks": tasks,
        "columns": [
            {"benchmark": benchmark, "source": source, "task": columns[benchmark, source], "name": name}
            for (benchmark, source), name in names.items()
        ],
        "rows": [_row(manager, own, names, lengths, drawing) for manager, own in managers.items()],
        "differences": [
            each
            for against in references
            for each in compare_all(against, [*scopes, *(("task", task) for task in tasks)])
        ],
        "closed_book": compare_all(CLOSED_BOOK, scopes) if CLOSED_BOOK in managers else [],
        "lengths": [{"name": each.name, "streams": len(each.streams), "beyond": each.beyond} for each in lengths],
        "usage": dict(usage or {}),
        "bootstrap": drawing,
        "definitions": dict(DEFINITIONS),
    }


def _place(result: StreamResult, scope: str, names: Mapping[Column, str]) -> str:
    """Where a result stands in a scope."""
    return names[column(result)] if scope == "source" else str(getattr(result, scope))


def _row(
    manager: str,
    played: Sequence[StreamResult],
    names: Mapping[Column, str],
    lengths: Sequence[Bucket],
    drawing: Mapping[str, Any],
) -> dict[str, Any]:
    own = rebuilds_merged(played)

    def mean(cell: Cell, within: Sequence[StreamResult]) -> dict[str, Any]:
        return {
            **asdict(cell),
            **ends("", score_interval(within, **drawing)),
            **ends("tokens_", tokens_interval(within, **drawing)),
        }

    return {
        "manager": manager,
        "mean": mean(mean_over_sources(own, names), played),
        "benchmarks": {
            name: mean(cell, [r for r in played if r.benchmark == name]) for name, cell in by_benchmark(own).items()
        },
        "sources": {names[place]: asdict(cell) for place, cell in by_source(own).items()},
        "tasks": {task: asdict(cell) for task, cell in by_task(own).items()},
        "lengths": {each.name: asdict(mean_over_sources(within)) for each in lengths if (within := each.of(own))},
        "cost": {
            "mean": _cost(own),
            **{name: _cost([r for r in own if column(r) == place]) for place, name in names.items()},
        },
        "rebuilds": len({result.seed for result in played}),
        "training_seeds": len({result.training_seed for result in played}),
        "conduct": _conduct(own),
    }


def _cost(streams: Sequence[StreamResult]) -> dict[str, dict[str, float]] | None:
    """Per question, over all streams together: what was written for it, and what was read. None without questions."""
    questions = sum(len(stream.questions) for stream in streams)
    if not questions:
        return None
    parts = Spent.__dataclass_fields__
    return {
        "write": {part: sum(getattr(stream.write, part) for stream in streams) / questions for part in parts},
        "read": {part: sum(getattr(stream.read, part) for stream in streams) / questions for part in parts},
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        **asdict(difference),
        "excludes_zero": difference.excludes_zero,
        "detectable": difference.detectable,
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
