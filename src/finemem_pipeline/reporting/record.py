"""The table of record: an evaluation in the layout of the published tables, ours beside theirs, as a page and a CSV.

What others published stands in published.yml. A published table gets lines of ours where a benchmark of its loader was
evaluated; a benchmark that nobody published numbers of has a table to itself, a column for each of its sources.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any

from finemem_pipeline.reporting.plots import accuracy_against_tokens
from finemem_pipeline.reporting.report import environment, replace_text
from finemem_pipeline.reporting.statistics import evaluation_grids
from finemem_pipeline.reporting.table import Evaluation

OURS, THEIRS = "ours", "published"
FIXED, AS_PUBLISHED = "fixed", "published"
"""Whose rules gave the scores: ours, or those behind the published tables (metrics.METRICS, metrics.PUBLISHED)."""
_KEYS = {FIXED: ("score", "question_mean"), AS_PUBLISHED: ("published", "published_question_mean")}
"""Of a cell of an evaluation."""
AVERAGED = ("memalpha", "memoryagentbench")
"""The published tables that a table of averages speaks of."""


@dataclass(frozen=True, slots=True)
class RecordCell:
    """One number and what it rests on."""

    score: float | None = None
    memory: float | None = None  # tokens
    n: int | None = None  # None: not published
    unscored: int | None = None
    question_mean: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One method in one table."""

    method: str
    origin: str  # OURS or THEIRS
    scorer: str  # FIXED or AS_PUBLISHED
    cells: tuple[RecordCell, ...]  # one per column
    printed: RecordCell = RecordCell()  # the average that was printed
    low: float | None = None  # of the mean, by bootstrap
    high: float | None = None
    rebuilds: int | None = None
    training_seeds: int | None = None

    @property
    def mean(self) -> RecordCell:
        """The unweighted mean over the columns; no score where a column has none, as the rows would not compare."""
        return replace(_together(self.cells), question_mean=_question_mean(self.cells))


@dataclass(frozen=True, slots=True)
class RecordTable:
    """Methods by columns."""

    name: str
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]  # ours first
    source: str = ""  # of the published lines
    note: str = ""

    @property
    def evaluated(self) -> bool:
        """Whether there is a line of ours."""
        return any(line.origin == OURS for line in self.lines)


@cache
def published() -> tuple[Mapping[str, Any], ...]:
    """The tables of published.yml."""
    import yaml

    return tuple(yaml.safe_load(Path(__file__).with_name("published.yml").read_text(encoding="utf-8"))["tables"])


def record_tables(evaluation: Evaluation, loaders: Mapping[str, str]) -> list[RecordTable]:
    """All tables: those with lines of ours first. `loaders` has the loader of each benchmark; the data pipeline's own
    test set has none.
    """
    layouts = [table for table in published() if table["columns"]]
    own = [table for name in evaluation["benchmarks"] for table in _own(evaluation, name, loaders.get(name), layouts)]
    theirs = [_beside(evaluation, table, loaders) for table in layouts]
    averages = [_averages(table, theirs) for table in published() if not table["columns"]]
    return sorted([*own, *theirs, *averages], key=lambda table: not table.evaluated)


def record_csv(tables: Sequence[RecordTable]) -> str:
    """The tables as one CSV: a row per line, the columns of all tables side by side, empty where a table has none.

    Scores are between 0 and 1, memory is in tokens.
    """
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    head = [*_FRONT, *(f"{column}{what}" for column in columns for what in ("", " memory", " n", " unscored"))]
    page = StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(head)
    for table in tables:
        for line in table.lines:
            found = dict(zip(table.columns, line.cells, strict=True))
            mean = line.mean
            front = (
                *(table.name, line.method, line.origin, line.scorer),
                *(mean.score, line.low, line.high, line.printed.score, mean.question_mean),
                *(mean.memory, line.printed.memory, mean.n, mean.unscored, line.rebuilds, line.training_seeds),
            )
            cells = (found.get(column, RecordCell()) for column in columns)
            rest = [value for cell in cells for value in (cell.score, cell.memory, cell.n, cell.unscored)]
            writer.writerow([_plain(value) for value in (*front, *rest)])
    return page.getvalue()


_FRONT = (
    *("table", "method", "origin", "scorer"),
    *("column mean", "low", "high", "average as printed", "question mean"),
    *("memory tokens", "memory as printed", "n", "unscored", "rebuilds", "training seeds"),
)


def write_record(
    path: Path, evaluation: Evaluation, loaders: Mapping[str, str], run: Mapping[str, str]
) -> tuple[Path, Path]:
    """Writes the page, and the CSV beside it under the same name; each replaces an earlier one in a single move.

    `run` says what was run.
    """
    tables = record_tables(evaluation, loaders)
    plots = [accuracy_against_tokens(evaluation, name) for name in evaluation["benchmarks"]]
    page = (
        environment()
        .get_template("record.html")
        .render(
            title="Table of record: " + ", ".join(evaluation["benchmarks"]),
            run=run,
            tables_of_ours=[table for table in tables if table.evaluated],
            others=[table for table in tables if not table.evaluated],
            plots=[plot for plot in plots if plot is not None],
            grids=evaluation_grids(evaluation),
            definitions=evaluation["definitions"],
            bootstrap=evaluation["bootstrap"],
        )
    )
    return replace_text(path, page), replace_text(path.with_suffix(".csv"), record_csv(tables))


def _own(
    evaluation: Evaluation, benchmark: str, loader: str | None, layouts: Sequence[Mapping[str, Any]]
) -> Iterator[RecordTable]:
    """The sources of a benchmark that no published table has a column for, in a layout of their own."""
    theirs = [column for table in layouts if table["loader"] == loader for column in table["columns"].values()]
    sources = [
        column["source"]
        for column in evaluation["columns"]
        if column["benchmark"] == benchmark and [column["source"]] not in theirs
    ]
    if sources:
        lines = tuple(_lines(evaluation, benchmark, [[source] for source in sources]))
        name, title = benchmark, benchmark
        if theirs:
            name, title = f"{benchmark}-others", f"{benchmark}, sources without a published column"
        yield RecordTable(name, title, tuple(sources), lines)


def _beside(evaluation: Evaluation, table: Mapping[str, Any], loaders: Mapping[str, str]) -> RecordTable:
    """A published table with the lines of ours above those of others."""
    benchmarks = [name for name in evaluation["benchmarks"] if loaders.get(name) == table["loader"]]
    ours = [
        line
        for name in benchmarks
        for line in _lines(evaluation, name, list(table["columns"].values()), several=len(benchmarks) > 1)
    ]
    shown = [line for line in ours if any(cell.score is not None for cell in line.cells)]
    theirs = [
        Line(row["method"], THEIRS, AS_PUBLISHED, tuple(map(_theirs, row["cells"])), _theirs(row["average"]))
        for row in table["rows"]
    ]
    return RecordTable(
        table["name"],
        table["title"],
        tuple(table["columns"]),
        (*shown, *theirs),
        table["source"],
        table["note"],
    )


def _averages(table: Mapping[str, Any], beside: Sequence[RecordTable]) -> RecordTable:
    """A published table of averages alone: ours is the mean over the columns of both tables by Mem-α."""
    both = [
        {line.method: line for line in each.lines if line.origin == OURS and line.scorer == FIXED}
        for each in beside
        if each.name in AVERAGED
    ]
    lines = [
        Line(method, OURS, FIXED, (average,))
        for method in both[0]
        if all(method in each for each in both)
        and (average := _together([cell for each in both for cell in each[method].cells])).score is not None
    ]
    lines += [Line(row["method"], THEIRS, AS_PUBLISHED, (_theirs(row["average"]),)) for row in table["rows"]]
    return RecordTable(table["name"], table["title"], ("average",), tuple(lines), table["source"], table["note"])


def _lines(
    evaluation: Evaluation, benchmark: str, columns: Sequence[Sequence[str]], *, several: bool = False
) -> Iterator[Line]:
    """Every manager by our scorers, and below by the published ones where that makes a difference."""
    names = {c["source"]: c["name"] for c in evaluation["columns"] if c["benchmark"] == benchmark}
    same = sorted(map(tuple, columns)) == sorted(
        (source,) for source in names
    )  # then the mean is the one that has an interval
    for row in evaluation["rows"]:
        if benchmark not in row["benchmarks"]:
            continue
        mean = row["benchmarks"][benchmark]
        found = {source: row["sources"].get(name) for source, name in names.items()}
        faces = {face: tuple(_ours([found.get(s) for s in column], face) for column in columns) for face in _KEYS}
        for face, cells in faces.items():
            if face == FIXED or _apart(faces[FIXED], cells):
                yield Line(
                    f"{row['manager']} on {benchmark}" if several else row["manager"],
                    OURS,
                    face,
                    cells,
                    low=mean["low"] if same and face == FIXED else None,
                    high=mean["high"] if same and face == FIXED else None,
                    rebuilds=row["rebuilds"],
                    training_seeds=row["training_seeds"],
                )


def _ours(cells: Sequence[Mapping[str, Any] | None], face: str) -> RecordCell:
    """The mean over the sources of a column; nothing where one of them was not played."""
    score, question_mean = _KEYS[face]
    there = [
        RecordCell(cell[score], cell["memory_tokens"], cell["questions"], cell["unscored"], cell[question_mean])
        for cell in cells
        if cell is not None
    ]
    if not there or len(there) < len(cells):
        return RecordCell()
    return replace(_together(there), question_mean=_question_mean(there))


def _together(cells: Sequence[RecordCell]) -> RecordCell:
    """Unweighted means; none where a cell has no number, as what it were compared with would have it."""
    counts = [(cell.n, cell.unscored or 0) for cell in cells if cell.n is not None]
    return RecordCell(
        score=_mean([cell.score for cell in cells]),
        memory=_mean([cell.memory for cell in cells]),
        n=sum(n for n, _ in counts) if counts else None,
        unscored=sum(left for _, left in counts) if counts else None,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return fmean(found) if found and len(found) == len(values) else None


def _question_mean(cells: Sequence[RecordCell]) -> float | None:
    """Every scored question weighing the same."""
    counted = [(cell.n, cell.question_mean) for cell in cells if cell.n and cell.question_mean is not None]
    return sum(n * mean for n, mean in counted) / sum(n for n, _ in counted) if counted else None


def _apart(one: Sequence[RecordCell], other: Sequence[RecordCell]) -> bool:
    pairs = [(a.score, b.score) for a, b in zip(one, other, strict=True)]
    return any(a is not None and b is not None and not math.isclose(a, b) for a, b in pairs)


def _theirs(cell: Any) -> RecordCell:
    """0.742, or [0.742, 10.6] with the memory in thousands."""
    if isinstance(cell, list):
        score, memory = cell
        return RecordCell(score, round(memory * 1000, 1))
    return RecordCell(cell)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
