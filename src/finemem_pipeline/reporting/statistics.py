"""What stands beside the scores of an evaluation: closed-book gain, costs, lengths, what the cache saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finemem_pipeline.reporting.grid import Grid
from finemem_pipeline.reporting.table import NOTHING, Evaluation, below, interval, percent, score, tokens


def evaluation_grids(evaluation: Evaluation) -> list[Grid]:
    """The tables that have something to say."""
    found = (gains(evaluation), costs(evaluation), lengths(evaluation), faces(evaluation))
    return [grid for grid in found if grid is not None]


def gains(evaluation: Evaluation) -> Grid | None:
    """Score less that of a reader without memory, over all sources, by benchmark and by source."""
    differences = evaluation["closed_book"]
    if not differences:
        return None
    scopes = list(dict.fromkeys((d["scope"], d["name"]) for d in differences))
    found = {(d["manager"], d["scope"], d["name"]): d for d in differences}
    managers = [name for name in evaluation["managers"] if (name, *scopes[0]) in found]
    return Grid(
        "Closed-book gain",
        f"What memory adds to a reader that has none; paired, with {percent(evaluation['bootstrap']['level'])} "
        "intervals; a star: the interval excludes 0.",
        ("manager", *(name or "mean over sources" for _, name in scopes)),
        tuple((manager, *(interval(found[manager, *scope]) for scope in scopes)) for manager in managers),
    )


def costs(evaluation: Evaluation) -> Grid:
    """What a question cost each manager and the reader."""
    usage = evaluation["usage"]
    saved = usage["questions"] - usage["calls"] if usage else 0
    told = (
        f" In this run {usage['questions']:,} questions were asked and {usage['calls']:,} sent to the reader; "
        f"{saved:,} had been asked before about the same texts."
        if usage
        else ""
    )
    rows = []
    for row in evaluation["rows"]:
        cost = row["cost"]["mean"]
        write, read = (cost["write"], cost["read"]) if cost else ({}, {})
        played = row["rebuilds"] * row["training_seeds"]
        rows.append((row["manager"], str(played), *map(_amount, _parts(write)), *map(_amount, _parts(read)[:3])))
    return Grid(
        "Cost of a question",
        "Of one pass over the streams. Writing: calls to the manager's model, tokens of its prompts and replies, and "
        f"seconds, all divided by the questions asked. Reading: what the reader was asked for.{told}",
        (
            *("manager", "passes", "write calls", "write tokens in", "write tokens out", "write seconds"),
            *("read calls", "read tokens in", "read tokens out"),
        ),
        tuple(rows),
    )


def lengths(evaluation: Evaluation) -> Grid | None:
    """Scores by the length of the streams."""
    found = evaluation["lengths"]
    if len(found) < 2 and not any(each["beyond"] for each in found):
        return None
    return Grid(
        "By tokens read",
        "Score (n + unscored; memory tokens); mean over the sources that have streams of that length. † all of them "
        "longer than every stream that was trained on.",
        ("manager", *(f"{each['name']}{' †' if each['beyond'] else ''} ({each['streams']})" for each in found)),
        tuple(
            (
                row["manager"],
                *(
                    f"{score(cell['score'])} ({below(cell)})" if (cell := row["lengths"].get(each["name"])) else NOTHING
                    for each in found
                ),
            )
            for row in evaluation["rows"]
        ),
    )


def faces(evaluation: Evaluation) -> Grid | None:
    """Both faces of the scores, of the sources where they differ."""
    differing = [
        name for name in evaluation["sources"] if any(_differs(row["sources"].get(name)) for row in evaluation["rows"])
    ]
    if not differing:
        return None
    return Grid(
        "By the published scorers",
        "Score → score by the scorer of the published tables, where they differ for any manager.",
        ("manager", *differing),
        tuple((row["manager"], *(_both(row["sources"].get(name)) for name in differing)) for row in evaluation["rows"]),
    )


def _differs(cell: Mapping[str, Any] | None) -> bool:
    return cell is not None and cell["published"] is not None and abs(cell["published"] - cell["score"]) > 1e-9


def _both(cell: Mapping[str, Any] | None) -> str:
    return NOTHING if cell is None else f"{score(cell['score'])} → {score(cell['published'])}"


def _parts(spent: Mapping[str, float]) -> list[float]:
    return [spent[part] for part in ("calls", "tokens_in", "tokens_out", "seconds")] if spent else [0.0] * 4


def _amount(value: float) -> str:
    """0, 0.25, 12.3, 4517, 12.4k"""
    return f"{value:.3g}" if value < 100 else tokens(value)
