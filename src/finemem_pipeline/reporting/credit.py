"""The result of a credit study: tables and pictures, from the documents that `study` makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finemem_pipeline.reporting.grid import Grid, signed_interval, with_interval
from finemem_pipeline.reporting.learning import learning_grids
from finemem_pipeline.reporting.plots import COLOURS, INK, Plot, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Summary = Mapping[str, Any]

MOST_COLUMNS = 8
"""A table of more parts than this cannot be read: given streams may have as many lengths as there are streams."""

_DIGITS = {"calls": 1}


def credit_grids(summary: Summary) -> list[Grid]:
    """All tables of a study."""
    learning = summary["learning"]
    return fidelity_grids(summary["fidelity"]) + (learning_grids(learning) if learning else [])


def fidelity_grids(summary: Summary) -> list[Grid]:
    """All measures by scheme; the leading one by family, length and habit."""
    reference, leading = summary["reference"], summary["leading"]
    measures = list(summary["schemes"][0]["measures"])
    level = f"{100 * summary['level']:g} %"
    grids = [
        Grid(
            f"Credit against what caused the score: {summary['episodes']} rollouts, {summary['units']} units",
            f"In brackets {level} bootstrap intervals over units: seeds, or given streams. Spearman: rank correlation "
            "with the causal credit of the steps, by leaving one step out and by Shapley value. Idle share: of the "
            f"credit given, what went to steps that caused nothing. The last column is {leading}, rollout by rollout; "
            "a star: the interval excludes 0. Calls are per episode.",
            ("scheme", *measures, *([f"against {reference}"] if reference else [])),
            tuple(
                (
                    row["scheme"],
                    *(with_interval(row["measures"][name], _DIGITS.get(name, 3)) for name in measures),
                    *([signed_interval(row["difference"])] if reference else []),
                )
                for row in summary["schemes"]
            ),
        ),
        Grid(
            "How many rollouts a mean rests on (and how many have no value)",
            "A truth that is the same at every step has no ranks; where every step is gold precision says nothing.",
            ("scheme", *measures),
            tuple(
                (row["scheme"], *(f"{cell['n']} ({cell['missing']})" for cell in row["measures"].values()))
                for row in summary["schemes"]
            ),
        ),
    ]
    grids.append(
        Grid(
            "What it costs: milliseconds per episode",
            "Of the scheme and the answers it asks for, with an empty cache: they differ from machine to machine.",
            ("scheme", "milliseconds"),
            tuple((row["scheme"], with_interval(row["milliseconds"], 2)) for row in summary["schemes"]),
        )
    )
    for part, title in (("family", "kind of stream"), ("steps", "T"), ("habit", "manager")):
        found = summary["by"][part]
        if 1 < len(found) <= MOST_COLUMNS:
            names = [row["scheme"] for row in summary["schemes"]]
            rows = tuple((scheme, *(with_interval(found[name][scheme]) for name in found)) for scheme in names)
            grids.append(Grid(f"{leading}, by {title}", "", ("scheme", *found), rows))
    return grids


def fidelity_plot(summary: Summary) -> Plot:
    """The leading measure of every scheme, with its interval: over all, and by kind of stream."""
    names = [row["scheme"] for row in summary["schemes"]]
    families = summary["by"]["family"]

    def draw(axes: Axes) -> None:
        named: set[str] = set()
        for place, row in enumerate(reversed(summary["schemes"])):
            for colour, (family, found) in zip(_cycle(len(families)), families.items(), strict=True):
                mean = found[row["scheme"]]["mean"]
                if mean is not None and len(families) > 1:
                    label = None if family in named else family
                    named.add(family)
                    axes.plot(mean, place, "o", color=colour, markersize=4, label=label)
            cell = row["measures"][summary["leading"]]
            if cell["low"] is not None:
                axes.plot([cell["low"], cell["high"]], [place, place], color=INK, linewidth=1.4)
            if cell["mean"] is not None:
                axes.plot(cell["mean"], place, "|", color=INK, markersize=13, markeredgewidth=2.2)
        axes.set_yticks(range(len(names)), reversed(names))
        axes.grid(axis="x")
        axes.set_xlabel(summary["leading"])
        if len(families) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.2)

    return Plot(
        "fidelity",
        "Credit against what caused the score",
        f"Rank correlation with the Shapley value of the steps. Black: over all {summary['episodes']} rollouts, with "
        "its interval. Dots: by kind of stream.",
        picture("fidelity", draw, size=(5.6, 0.42 * len(names) + 1.3)),
    )


def _cycle(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(count)]
