"""Backbones by readers as a page and a CSV: the document of `evaluation.matrix`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finemem_pipeline.reporting.grid import Grid
from finemem_pipeline.reporting.plots import COLOURS, INK, Plot, picture
from finemem_pipeline.reporting.report import Section, replace_text, write_page
from finemem_pipeline.reporting.table import NOTHING, counted, difference, interval, percent, score, tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Matrix = Mapping[str, Any]
Cell = Mapping[str, Any]


def write_matrix(path: Path, matrix: Matrix, run: Mapping[str, str]) -> tuple[Path, Path]:
    """Writes the page, and the CSV beside it under the same name; each replaces an earlier one in a single move."""
    section = Section(verdict(matrix), (gains_plot(matrix),), tuple(matrix_grids(matrix)))
    title = f"Backbones by readers: {', '.join(matrix['benchmarks'])}"
    return write_page(path, title, run, [section]), replace_text(path.with_suffix(".csv"), matrix_csv(matrix))


def verdict(matrix: Matrix) -> str:
    """In how many cells training gained, in a sentence."""
    signs, cells = matrix["signs"], len(matrix["cells"])
    told = [
        f"{word} in {signs[word]} of {cells}"
        + (f" ({signs[f'clearly_{word}']} with an interval that excludes 0)" if f"clearly_{word}" in signs else "")
        for word in ("above", "below", "level", "unscored")
        if signs[word]
    ]
    holds = "The sign holds over all cells" if matrix["holds"] else "The sign does not hold over all cells"
    return f"{holds}: against warm_started, trained is {', '.join(told)}"


def matrix_grids(matrix: Matrix) -> list[Grid]:
    """A row per cell: scores and the gain; what these rest on; tokens."""
    managers = matrix["managers"]
    level = percent(matrix["cells"][0]["evaluation"]["bootstrap"]["level"])
    head = ("backbone · reader", *managers)
    return [
        Grid(
            "Score",
            f"Gain: trained − warm_started on the questions that both have scored, with the {level} interval of a "
            "paired bootstrap over training seeds, streams and questions; a star: it excludes 0. With one training "
            "seed it says nothing about others. Managers without a language model write the same memory beside every "
            "backbone.",
            (*head, "gain"),
            tuple(
                (
                    _name(cell),
                    *(score(_mean(cell, manager, "score")) for manager in managers),
                    interval(cell["gain"]),
                )
                for cell in matrix["cells"]
            ),
        ),
        Grid(
            "Questions scored (+ unscored)",
            "A question whose answer could not be had is left out of every mean, never counted as 0. Detectable: the "
            "smallest true gain that a comparison of this size would show four times in five.",
            (*head, "gain", "detectable"),
            tuple(
                (
                    _name(cell),
                    *(counted(row["mean"]) if (row := _row(cell, name)) else NOTHING for name in managers),
                    f"{cell['gain']['n_questions']} of {cell['gain']['n_streams']} streams",
                    score(cell["gain"]["detectable"]),
                )
                for cell in matrix["cells"]
            ),
        ),
        Grid(
            "Memory tokens",
            "After the last chunk, in tokens of the backbone's own tokenizer: they compare within a backbone alone.",
            head,
            tuple((_name(c), *(tokens(_mean(c, name, "memory_tokens")) for name in managers)) for c in matrix["cells"]),
        ),
    ]


def gains_plot(matrix: Matrix) -> Plot:
    """What training gained in every cell, with its interval."""
    cells = matrix["cells"]

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=INK, linewidth=0.8, alpha=0.5)
        for place, cell in enumerate(reversed(cells)):
            colour = COLOURS[matrix["readers"].index(cell["reader"]) % len(COLOURS)]
            gain = cell["gain"]
            if gain["low"] is not None:
                axes.plot([gain["low"], gain["high"]], [place, place], color=colour, linewidth=1.4)
            if gain["mean"] is not None:
                axes.plot(gain["mean"], place, "o", color=colour, markersize=6)
        axes.set_yticks(range(len(cells)), [_name(cell) for cell in reversed(cells)])
        axes.set_ylim(-0.6, len(cells) - 0.4)
        axes.grid(axis="x")
        axes.set_xlabel("trained − warm_started")

    return Plot(
        "gains",
        "What training gained",
        "By backbone and reader, with bootstrap intervals; a colour is a reader.",
        picture("gains", draw, size=(5.6, 0.42 * len(cells) + 1.0)),
    )


def matrix_csv(matrix: Matrix) -> str:
    """A row per cell and manager. Scores are between 0 and 1; differences are those to warm_started."""
    page = StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(_HEAD)
    for cell in matrix["cells"]:
        for row in cell["evaluation"]["rows"]:
            mean, compared = row["mean"], difference(cell["evaluation"], row["manager"]) or {}
            values = (
                *(mean[key] for key in ("score", "low", "high", "question_mean", "memory_tokens")),
                *(mean[key] for key in ("questions", "unscored")),
                *(compared.get(key) for key in ("mean", "low", "high", "detectable")),
                *(row[key] for key in ("rebuilds", "training_seeds")),
            )
            writer.writerow([cell["backbone"], cell["reader"], row["manager"], *map(_plain, values)])
    return page.getvalue()


_HEAD = (
    *("backbone", "reader", "manager", "score", "low", "high", "question mean", "memory tokens", "n", "unscored"),
    *("difference", "difference low", "difference high", "detectable", "rebuilds", "training seeds"),
)


def _name(cell: Cell) -> str:
    return f"{cell['backbone']} · {cell['reader']}"


def _row(cell: Cell, manager: str) -> Mapping[str, Any] | None:
    return next((row for row in cell["evaluation"]["rows"] if row["manager"] == manager), None)


def _mean(cell: Cell, manager: str, key: str) -> float | None:
    row = _row(cell, manager)
    return None if row is None else row["mean"][key]


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
