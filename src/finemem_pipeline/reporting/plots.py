"""Pictures of a training run and of an evaluation, as SVG to be put into a page.

Text and lines take the page's own colours: what was drawn in one of the colours below is written as a CSS variable
(`--ink`, `--rule`, `--c1` … `--c7`), so that one picture serves a light and a dark page. Colours are those of Okabe
and Ito, told apart by readers with any colour vision; lines differ in dashes too.

Rows of `curves` are `{"step": int, name: float, …}`; a missing, None or NaN value leaves a gap. Of two rows with the
same step the later one counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from finemem_pipeline.reporting.table import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves = Sequence[Mapping[str, Any]]

INK, RULE = "#0a0b0c", "#0d0e0f"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_VARIABLES = {INK: "var(--ink)", RULE: "var(--rule)", **{c: f"var(--c{n})" for n, c in enumerate(COLOURS, 1)}}
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (8, 2)), "-")
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.2,
    "svg.fonttype": "path",
    "svg.hashsalt": "finemem",
    "text.color": INK,
    "xtick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.color": RULE,
    "ytick.labelcolor": INK,
    "ytick.left": False,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture with what it shows."""

    name: str  # letters and dashes
    title: str
    caption: str
    svg: str


def training_plots(curves: Curves) -> list[Plot]:
    """The pictures that `curves` hold data for."""
    terms = _names(curves, "reward/", last="reward/total")
    shares = _names(curves, "share/")
    drawn = [
        _lines(
            *("rewards", "Reward", "Each term before its weight, and the weighted total, averaged over the rollouts."),
            *(curves, {name: name.removeprefix("reward/") for name in terms}),
        ),
        _lines(
            *("shares", "What steers", "Each term's share of the reward variance among siblings at the same step."),
            *(curves, {name: name.removeprefix("share/") for name in shares}),
            bottom=0.0,
        ),
        _lines(
            *("operations", "Operations", "Operations per chunk, by kind."),
            *(curves, {f"operations/{kind}": kind for kind in ("insert", "update", "delete", "skip")}),
            bottom=0.0,
        ),
        _lines(
            *("outcome", "Score while training", "Mean score of the final questions of the training streams."),
            *(curves, {"outcome": "final questions"}),
            bottom=0.0,
        ),
        _lines(
            *("memory", "Memory", "Tokens in memory after the last chunk."),
            *(curves, {"memory/tokens": "tokens"}),
            bottom=0.0,
        ),
        _lines(
            *(
                "waste",
                "Refused and malformed",
                "Share of the operations that were refused; share of the fragments that were none.",
            ),
            *(curves, {"operations/refused_share": "refused", "operations/malformed_share": "malformed"}),
            bottom=0.0,
        ),
        _lines(
            *("dead", "Dead groups", "Share of the groups of siblings with equal rewards: they teach nothing."),
            *(_with_ratio(curves, "groups/dead_columns", "groups/columns"), {"ratio": "dead groups"}),
            bottom=0.0,
        ),
        _lines(
            *("entropy", "Entropy", "Of the policy's next token, in nats, averaged over the completions."),
            *(curves, {"entropy": "entropy"}),
            bottom=0.0,
        ),
        _lines(
            *("gradient", "Gradient norm", "Before clipping."),
            *(curves, {"grad_norm": "gradient norm"}),
            bottom=0.0,
        ),
    ]
    return [plot for plot in drawn if plot is not None]


def accuracy_against_tokens(
    evaluation: Evaluation, benchmark: str | None = None, size: tuple[float, float] = (5.2, 3.5)
) -> Plot | None:
    """One point per manager with its bootstrap intervals, and the line of those that none beats on both axes: over all
    sources, or those of one benchmark.
    """
    means = [
        (row["manager"], row["mean"] if benchmark is None else row["benchmarks"].get(benchmark))
        for row in evaluation["rows"]
    ]
    points = [
        (manager, cell)
        for manager, cell in means
        if cell is not None and cell["score"] is not None and cell["memory_tokens"] is not None
    ]
    if not points:
        return None

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        filled = [cell["memory_tokens"] for _, cell in points if cell["memory_tokens"] > 0]
        near = max(10.0, min(filled, default=0.0))  # below this the axis is linear, down to nothing
        if filled and max(filled) > 20 * min(filled):
            axes.set_xscale("symlog", linthresh=near, linscale=0.6)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}" if value >= 0 else "")
        front = pareto_front([(cell["memory_tokens"], cell["score"]) for _, cell in points])
        axes.plot(*zip(*front, strict=True), color=INK, alpha=0.3, linewidth=1, drawstyle="steps-post", zorder=1)
        for place, (_, cell) in enumerate(points):
            colour = COLOURS[place % len(COLOURS)]
            axes.errorbar(
                cell["memory_tokens"],
                cell["score"],
                xerr=_reach(cell["memory_tokens"], cell["tokens_low"], cell["tokens_high"]),
                yerr=_reach(cell["score"], cell["low"], cell["high"]),
                fmt="os^Dvp*"[place % 7],
                color=colour,
                markersize=6,
                elinewidth=1,
                zorder=3,
            )
        axes.set_xlim(left=-0.3 * near if axes.get_xscale() == "symlog" else -0.04 * max(filled, default=1.0))
        axes.set_ylim(bottom=min(0.0, *(_least(cell) for _, cell in points)))
        axes.set_xlabel("memory tokens")
        axes.set_ylabel("score")
        label_at_the_side(axes, [(name, cell["memory_tokens"], cell["score"]) for name, cell in points])

    place = None if benchmark is None else evaluation["benchmarks"].index(benchmark)
    name = "accuracy" if place is None else f"accuracy-{place}"
    return Plot(
        name,
        "Score against memory" if benchmark is None else f"Score against memory, {benchmark}",
        f"Bars are {100 * evaluation['bootstrap']['level']:g} % bootstrap intervals. The stepped line joins the "
        "managers that no other beats on both axes.",
        picture(name, draw, size=size, right=0.65),
    )


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (cost, value) that no other point beats with a smaller cost and at least its value, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a centred window of about a tenth of the run, shorter at the ends."""
    reach = len(values) // 20
    if reach == 0:
        return values
    sums = np.cumsum(np.concatenate([[0.0], values]))
    place = np.arange(len(values))
    first, last = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Places as near to `heights` as may be, in their order and at least `gap` apart."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    blocks: list[tuple[list[int], float]] = []  # places from low to high, and the height of their middle
    for place in order:
        members, middle = [place], heights[place]
        while blocks and middle - blocks[-1][1] < gap * (len(members) + len(blocks[-1][0])) / 2:
            below, their_middle = blocks.pop()
            middle = (middle * len(members) + their_middle * len(below)) / (len(members) + len(below))
            members = [*below, *members]
        blocks.append((members, middle))
    places = [0.0] * len(heights)
    for members, middle in blocks:
        for row, place in enumerate(members):
            places[place] = middle + gap * (row - (len(members) - 1) / 2)
    return places


def _lines(
    name: str, title: str, caption: str, curves: Curves, labels: Mapping[str, str], *, bottom: float | None = None
) -> Plot | None:
    series = {label: found for key, label in labels.items() if len((found := _series(curves, key))[0])}
    if not series:
        return None

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for place, (label, (steps, values)) in enumerate(series.items()):
            colour, dashes = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
            if label == "total":
                colour, dashes = INK, "-"
            marker = "o" if len(steps) == 1 else None
            axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.25)
            axes.plot(steps, smooth(values), color=colour, linestyle=dashes, linewidth=1.8, label=label, marker=marker)
        if bottom is not None:
            axes.set_ylim(bottom=min(bottom, *(values.min() for _, values in series.values())))
        axes.margins(x=0.01)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        if len(series) > 1:
            columns = len(series) if len(series) <= 4 else 3
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, columnspacing=1.2)

    return Plot(name, title, caption, picture(name, draw, size=(4.6, 2.7)))


def picture(name: str, draw: Callable[[Axes], None], *, size: tuple[float, float], right: float | None = None) -> str:
    """What `draw` puts on one pair of axes, in inches, as an SVG element in the colours of the page.

    `right` leaves room for labels beside the axes, as a share of the width.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout=None if right else "constrained")
        if right:
            figure.subplots_adjust(left=0.11, right=right, bottom=0.14, top=0.97)
        axes = figure.subplots()
        draw(axes)
        page = StringIO()
        figure.savefig(
            page, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    return _for_page(name, page.getvalue())


def _for_page(name: str, svg: str) -> str:
    """The <svg> element alone: sized by the page, in its colours, with ids that no other picture has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg.strip()


def label_at_the_side(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Names beside the right edge, in the order of their heights, each joined to its point by a thin line."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # it was made by `subplots`
    figure.canvas.draw()
    to_axes = axes.transAxes.inverted()
    heights = [to_axes.transform(axes.transData.transform((x, y)))[1] for _, x, y in points]
    height_in_points = axes.get_position().height * figure.get_size_inches()[1] * 72
    places = spread(heights, gap=12 / height_in_points)
    for place, ((name, x, y), side) in enumerate(zip(points, places, strict=True)):
        shown = name if len(name) <= 26 else name[:25] + "…"
        axes.annotate(
            shown,
            xy=(x, y),
            xytext=(1.05, side),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": COLOURS[place % len(COLOURS)], "linewidth": 0.6, "alpha": 0.6},
        )


def _series(curves: Curves, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) steps, ascending, and (n,) finite values of one metric."""
    found = {row["step"]: row.get(name) for row in curves}
    kept = sorted((step, float(value)) for step, value in found.items() if value is not None and math.isfinite(value))
    steps, values = zip(*kept, strict=True) if kept else ((), ())
    return np.array(steps), np.array(values)


def _names(curves: Curves, prefix: str, last: str | None = None) -> list[str]:
    """Names of the metrics with that prefix, in order of appearance, `last` at the end."""
    names = dict.fromkeys(name for row in curves for name in row if name.startswith(prefix))
    return sorted(names, key=lambda name: name == last)


def _with_ratio(curves: Curves, part: str, whole: str) -> list[dict[str, Any]]:
    return [
        {"step": row["step"], "ratio": row[part] / row[whole]}
        for row in curves
        if row.get(part) is not None and row.get(whole)
    ]


def _reach(middle: float, low: float | None, high: float | None) -> list[list[float]] | None:
    """How far the bars go to either side; a bootstrap interval may leave the mean itself outside."""
    return None if low is None or high is None else [[max(0.0, middle - low)], [max(0.0, high - middle)]]


def _least(cell: Mapping[str, Any]) -> float:
    return float(cell["score"] if cell["low"] is None else min(cell["low"], cell["score"]))
