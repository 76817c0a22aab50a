"""Reward variants side by side, as one HTML file that needs nothing beside it: pictures are SVG, credit maps a script.

What is read here is the document that `evaluation.variants.compare_trainings` makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finemem_pipeline.reporting.grid import Grid, with_interval
from finemem_pipeline.reporting.plots import COLOURS, DASHES, Plot, accuracy_against_tokens, picture
from finemem_pipeline.reporting.report import environment, replace_text
from finemem_pipeline.reporting.table import NOTHING, headline, percent, score, tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Comparison = Mapping[str, Any]
Points = Sequence[Mapping[str, Any]]

KINDS = ("insert", "update", "delete", "skip")
SIZE = (3.7, 2.6)
"""Inches of a picture: its letters are as large as the page's on a phone."""
LEGEND = 50
"""Letters that fit above it."""
FIRST_TERMS = ("total", "outcome", "chunk")
"""Credit maps begin with these."""


def write_comparison(
    path: str | Path, comparison: Comparison, run: Mapping[str, str], maps: Sequence[Mapping[str, Any]]
) -> Path:
    """Writes the page of a comparison, replacing an earlier one in a single move.

    `run` says what was run, label to value; `maps` are documents of `credit_map` with the `seed` of the training and
    what was `played`.
    """
    table = comparison["table"]
    page = (
        environment()
        .get_template("comparison.html")
        .render(
            title=_title(comparison["variants"]),
            run=run,
            comparison=comparison,
            evaluation=table,
            headline=headline(table),
            reach=_reach(table),
            accuracy=accuracy_against_tokens(table, size=(4.2, 3.1)),
            learning=learning_plots(comparison),
            shares=share_plots(comparison),
            operations=operation_plots(comparison),
            trainings=trainings_grid(comparison),
            numbers=[_numbers(name, points) for name, points in comparison["curves"].items()],
            credit=credit_payload(maps),
        )
    )
    return replace_text(Path(path), page)


def learning_plots(comparison: Comparison) -> list[Plot]:
    """Score and memory at every update, a line per variant with its interval."""
    level = percent(comparison["table"]["bootstrap"]["level"])
    curves: Mapping[str, Points] = comparison["curves"]
    rests = "; ".join(f"{name}: {_rests_on(points)}" for name, points in curves.items())
    return [
        _chart(
            *("learning-score", "Score while learning"),
            f"Mean score of the final questions asked at an update, and its {level} bootstrap interval. {rests}.",
            [_line(name, place, points, "score", "") for place, (name, points) in enumerate(curves.items())],
            bottom=0.0,
        ),
        _chart(
            *("learning-memory", "Memory while learning"),
            "Tokens in memory after the last chunk, likewise, over the same rollouts.",
            [
                _line(name, place, points, "memory_tokens", "tokens_")
                for place, (name, points) in enumerate(curves.items())
            ],
            bottom=0.0,
        ),
    ]


def share_plots(comparison: Comparison) -> list[Plot]:
    """What steered each variant: every reward's share of the variance among siblings."""
    curves: Mapping[str, Points] = comparison["curves"]
    places = {name: place for place, name in enumerate(_steering([p for points in curves.values() for p in points]))}
    drawn = {
        variant: [
            _Line(
                name,
                places[name],
                tuple((_middle(p), p["shares"][name]["mean"]) for p in points if name in p["shares"]),
            )
            for name in _steering(points)
        ]
        for variant, points in curves.items()
    }
    return _side_by_side("shares", drawn, lambda variant: _shares_rest_on(curves[variant]))


def _steering(points: Points) -> list[str]:
    """Rewards that had any share; one that is measured and not paid has none."""
    shares = [(name, share["mean"]) for point in points for name, share in point["shares"].items()]
    return list(dict.fromkeys(name for name, mean in shares if mean))


def operation_plots(comparison: Comparison) -> list[Plot]:
    """What each variant did with a chunk, by kind."""
    curves: Mapping[str, Points] = comparison["curves"]
    drawn = {
        variant: [
            _Line(kind, place, tuple((_middle(p), p["operations"][kind]) for p in points if p["rollouts"]))
            for place, kind in enumerate(KINDS)
        ]
        for variant, points in curves.items()
    }
    return _side_by_side("operations", drawn, lambda variant: f"Per chunk, over {_rollouts(curves[variant])}.")


def trainings_grid(comparison: Comparison) -> Grid:
    """Every training alone."""
    return Grid(
        "Every training alone",
        "n: questions scored on held-out streams; a row of the table above is over all seeds of its variant.",
        ("training", "seed", "score", "memory tokens", "n", "unscored", "streams"),
        tuple(
            (
                row["variant"],
                str(row["seed"]),
                score(row["score"]),
                tokens(row["memory_tokens"]),
                *(str(row[name]) for name in ("questions", "unscored", "streams")),
            )
            for row in comparison["trainings"]
        ),
    )


def credit_payload(maps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the script of the credit maps reads: texts of a stream once, however many have played it."""
    streams: dict[str, Any] = {}
    plays = []
    for each in maps:
        streams.setdefault(
            each["stream"],
            {
                "source": each["source"],
                "chunks": [{"text": step["chunk"], "time": step["timestamp"]} for step in each["steps"]],
            },
        )
        steps = [
            {name: step[name] for name in ("operations", "malformed", "memory_tokens", "questions")}
            for step in each["steps"]
        ]
        plays.append(
            {
                **{
                    name: each[name]
                    for name in ("played", "stream", "seed", "sibling", "terms", "weights", "questions")
                },
                "variant": each["manager"],
                "steps": steps,
            }
        )
    names = dict.fromkeys(name for each in maps for name in each["terms"])
    paid = {name for each in maps for name, weight in each["weights"].items() if weight} | {"total", "advantage"}
    terms = sorted(
        (name for name in names if name in paid), key=lambda name: (name not in FIRST_TERMS, name == "advantage")
    )
    return {"terms": terms, "streams": streams, "plays": plays}


def _title(variants: Sequence[str]) -> str:
    return " against ".join(variants) if len(variants) < 3 else f"{len(variants)} reward variants"


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a picture."""

    label: str
    colour: int  # place in COLOURS
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()  # (x, low, high)


def _line(label: str, place: int, points: Points, name: str, prefix: str) -> _Line:
    """A curve with its interval, at the middle of the updates that a point is over."""
    known = [point for point in points if point[name] is not None]
    bounded = [point for point in known if point[f"{prefix}low"] is not None]
    return _Line(
        label,
        place,
        tuple((_middle(point), point[name]) for point in known),
        tuple((_middle(point), point[f"{prefix}low"], point[f"{prefix}high"]) for point in bounded),
    )


def _middle(point: Mapping[str, Any]) -> float:
    return (point["first"] + point["last"]) / 2


def _side_by_side(name: str, drawn: Mapping[str, list[_Line]], caption: Callable[[str], str]) -> list[Plot]:
    """A picture per variant, all with the same axes."""
    values = [y for lines in drawn.values() for line in lines for _, y in line.points]
    if not values:
        return []
    room = 0.05 * (max(values) - min(0.0, *values) or 1.0)
    limits = (min(0.0, *values) - (room if min(values) < 0 else 0.0), max(values) + room)
    return [
        _chart(f"{name}-{place}", variant, caption(variant), lines, limits=limits)
        for place, (variant, lines) in enumerate(drawn.items())
    ]


def _chart(
    name: str,
    title: str,
    caption: str,
    lines: Sequence[_Line],
    *,
    bottom: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Plot:
    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for line in lines:
            colour, dashes = COLOURS[line.colour % len(COLOURS)], DASHES[line.colour % len(DASHES)]
            if line.band:
                at, low, high = (list(part) for part in zip(*line.band, strict=True))
                axes.fill_between(at, low, high, color=colour, alpha=0.16, linewidth=0)
            xs, ys = zip(*line.points, strict=True) if line.points else ((), ())
            marker = "o" if len(xs) <= 12 else None
            axes.plot(
                xs, ys, color=colour, linestyle=dashes, linewidth=1.8, marker=marker, markersize=3.5, label=line.label
            )
        if bottom is not None:
            axes.set_ylim(bottom=bottom)
        if limits is not None:
            axes.set_ylim(*limits)
        axes.margins(x=0.02)
        axes.set_xlabel("update")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        longest = max((len(line.label) for line in lines), default=0)
        columns = max(1, min(len(lines), LEGEND // (longest + 5)))
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, columnspacing=1.2)

    return Plot(name, title, caption, picture(name, draw, size=SIZE))


def _rests_on(points: Points) -> str:
    """96 answers a point and 2 unscored, of 16 rollouts of 4 streams, 2 seeds"""
    return f"{_counted(points, 'n', 'answer')} a point and {_span(points, 'unscored')} unscored, of {_rollouts(points)}"


def _rollouts(points: Points) -> str:
    rollouts, streams, seeds = (_counted(points, f"{name}s", name) for name in ("rollout", "stream", "seed"))
    return f"{rollouts} of {streams}, {seeds}"


def _shares_rest_on(points: Points) -> str:
    counts = [share["n"] for point in points for share in point["shares"].values()]
    if not counts:
        return "Siblings never differed: nothing steered."
    missing = _span(points, "unscored")
    return f"A point is a mean of {_told(counts)} (updates times seeds), with {missing} answers unscored in them."


def _counted(points: Points, name: str, what: str) -> str:
    """2 seeds, 1 seed"""
    told = _span(points, name)
    return f"{told} {what}" if told == "1" else f"{told} {what}s"


def _span(points: Points, name: str) -> str:
    return _told([point[name] for point in points])


def _told(counts: Sequence[int]) -> str:
    """96, or 90–96"""
    least, most = min(counts, default=0), max(counts, default=0)
    return f"{least:,}" if least == most else f"{least:,}–{most:,}"


def _numbers(variant: str, points: Points) -> Grid:
    """All numbers behind the pictures of one variant."""
    names = _steering(points)
    return Grid(
        variant,
        "",
        (
            *("updates", "score", "n", "unscored", "memory tokens", "streams", "rollouts", "seeds"),
            *(f"{kind} per chunk" for kind in KINDS),
            *(f"share of {name} (n)" for name in names),
        ),
        tuple(
            (
                str(point["first"]) if point["first"] == point["last"] else f"{point['first']}–{point['last']}",
                with_interval({"mean": point["score"], "low": point["low"], "high": point["high"]}),
                str(point["n"]),
                str(point["unscored"]),
                with_interval(
                    {"mean": point["memory_tokens"], "low": point["tokens_low"], "high": point["tokens_high"]}, 0
                ),
                *(str(point[name]) for name in ("streams", "rollouts", "seeds")),
                *(_number(point["operations"][kind]) for kind in KINDS),
                *(_share(point["shares"].get(name)) for name in names),
            )
            for point in points
        ),
    )


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _share(share: Mapping[str, Any] | None) -> str:
    return NOTHING if share is None else f"{share['mean']:.2f} ({share['n']})".replace("-", "−")


def _reach(table: Mapping[str, Any]) -> float:
    """How far the intervals of the differences go from 0."""
    ends = [
        abs(d[end])
        for d in table["differences"]
        if d["scope"] == "mean"
        for end in ("low", "high")
        if d[end] is not None
    ]
    return max(ends, default=0.0) or 1.0
