"""The result of a run as one HTML file that needs nothing beside it: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finemem_pipeline.beside import beside
from finemem_pipeline.reporting.grid import Grid
from finemem_pipeline.reporting.plots import Curves, Plot, accuracy_against_tokens, training_plots
from finemem_pipeline.reporting.statistics import evaluation_grids
from finemem_pipeline.reporting.table import (
    Evaluation,
    difference,
    headline,
    interval,
    percent,
    score,
    signed,
    tokens,
)


def write_report(path: str | Path, evaluation: Evaluation, curves: Curves, context: Mapping[str, Any]) -> Path:
    """Writes the report of one run, replacing an earlier one in a single move.

    `evaluation` is the document of `evaluation.evaluate_table`, `curves` the rows of the training metrics (none: the
    page has no training pictures). `context` says what was run:

    - `title`: heading of the page
    - `run`: label to value, shown in order: variant, recipe, seed, data digest, commit, model, …
    - `samples`: documents of `sample_stream`
    """
    page = (
        environment()
        .get_template("report.html")
        .render(
            title=context.get("title", "Memory manager"),
            run=context.get("run", {}),
            samples=context.get("samples", ()),
            evaluation=evaluation,
            headline=headline(evaluation),
            accuracy=accuracy_against_tokens(evaluation),
            grids=evaluation_grids(evaluation),
            plots=training_plots(curves),
            others=_others(evaluation),
        )
    )
    return replace_text(Path(path), page)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: pictures, then tables."""

    title: str
    plots: tuple[Plot, ...]
    grids: tuple[Grid, ...]


def write_page(path: str | Path, title: str, run: Mapping[str, str], sections: Sequence[Section]) -> Path:
    """Writes a page of these sections, replacing an earlier one in a single move. `run` says what was run."""
    page = environment().get_template("page.html").render(title=title, run=run, sections=sections)
    return replace_text(Path(path), page)


def _others(evaluation: Evaluation) -> Sequence[tuple[str, str, list[Mapping[str, Any]]]]:
    """Reference, manager and differences (mean, then sources, then tasks) of every pair."""
    pairs = dict.fromkeys((d["reference"], d["manager"]) for d in evaluation["differences"])
    return [
        (
            reference,
            manager,
            [d for d in evaluation["differences"] if (d["reference"], d["manager"]) == (reference, manager)],
        )
        for reference, manager in pairs
    ]


def environment() -> Any:
    """Where the templates of the pages are."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("finemem_pipeline.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(score=score, signed=signed, tokens=tokens, percent=percent, interval=interval)
    environment.globals.update(difference=difference)
    return environment


def replace_text(path: Path, page: str) -> Path:
    """Writes beside, then renames."""
    with beside(path) as part:
        part.write_text(page, encoding="utf-8", errors="replace")  # what a model wrote may hold a lone surrogate
    return path
