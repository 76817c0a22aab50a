"""What reward variants teach: tables and pictures, from the document that `study.lessons` makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finemem_pipeline.reporting.grid import Grid, signed_interval, with_interval
from finemem_pipeline.reporting.plots import COLOURS, INK, Plot, label_at_the_side, picture
from finemem_pipeline.reporting.table import NOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Learning = Mapping[str, Any]
Row = Mapping[str, Any]


_SPEED = (
    "Updates and calls: medians over seeds, memory and mean score: means, all with bootstrap intervals; > where a"
    " run did not get there in {updates} updates. The goal is 90 % of {attainable}, the score of a manager that "
    "is told which sentences state a fact, keeps those and replaces none: a reference, no upper bound. Calls are "
    "questions that the reader had to answer, without those in its cache. Memory in words, of the runs that "
    "reached the goal. Mean score: over all updates."
)
_END = (
    "After the last update, greedy, on held-out streams: means over seeds with bootstrap intervals. Spread: "
    "standard deviation of the score over seeds. Corrected: the score of questions about facts that a later chunk"
    " corrected. Kept: share of the sentences. Collapsed: the mean chance of keeping a sentence is at most .05 "
    "(skips) or at least .95 (copies), or the score fell to half of its best (fell)."
)
_NOISE = (
    "SNR: |mean|²/variance of one group's gradient, so 1/SNR groups are as much signal as noise. Cosine: with the"
    " gradient of the final score, estimated from {groups} groups of its own. Share: of the outcome, or of the "
    "answers to chunk questions, in the reward's variance among siblings at the same step."
)


def learning_grids(learning: Learning) -> list[Grid]:
    """By T how fast each variant teaches and where it ends; then the pairs, and the noise of the gradient."""
    seeds, updates = learning["seeds"], learning["updates"]
    grids = []
    for steps, rows in _by_length(learning["runs"]).items():
        attainable = with_interval({**rows[0]["attainable"], "low": None})
        grids += [
            Grid(
                f"How fast a variant teaches, T = {steps}: {seeds} runs of {updates} updates each",
                _SPEED.format(updates=updates, attainable=attainable),
                (
                    "variant",
                    "reached",
                    "updates to goal",
                    "calls to goal",
                    "memory at goal",
                    "updates to 90 % of facts",
                    "calls to 90 % of facts",
                    "mean score",
                ),
                tuple(
                    (
                        row["variant"],
                        f"{row['runs'] - row['censored']} of {row['runs']}",
                        _until(row["updates_to_goal"], updates),
                        _until(row["calls_to_goal"]),
                        with_interval(row["tokens_at_goal"], 0),
                        _until(row["updates_to_facts"], updates),
                        _until(row["calls_to_facts"]),
                        with_interval(row["mean_score"]),
                    )
                    for row in rows
                ),
            ),
            Grid(
                f"Where it ends, T = {steps}",
                _END,
                ("variant", "score", "spread", "corrected", "memory", "kept", "collapsed"),
                tuple(
                    (
                        row["variant"],
                        with_interval(row["final_score"]),
                        NOTHING if row["final_score"]["spread"] is None else f"{row['final_score']['spread']:.3f}",
                        with_interval(row["final_corrected"]),
                        with_interval(row["final_tokens"], 0),
                        with_interval(row["final_kept"], 2),
                        _collapsed(row),
                    )
                    for row in rows
                ),
            ),
        ]
    if learning["differences"]:
        grids.append(
            Grid(
                "One change at a time",
                "First − second, seed by seed, with bootstrap intervals; a star: the interval excludes 0.",
                ("variants", "T", "mean score", "score at the end", "corrected", "memory"),
                tuple(
                    (
                        f"{row['variant']} − {row['reference']}",
                        str(row["steps"]),
                        *(signed_interval(row[name]) for name in ("mean_score", "final_score", "final_corrected")),
                        signed_interval(row["final_tokens"], 0),
                    )
                    for row in learning["differences"]
                ),
            )
        )
    grids += [
        Grid(
            f"The gradient of a policy that is {state}, T = {steps}: {rows[0]['groups']} groups",
            _NOISE.format(groups=rows[0]["truth_groups"]),
            ("variant", "SNR", "variance", "cosine", "share of outcome", "share of chunk questions"),
            tuple(
                (
                    row["variant"],
                    _valued(row["snr"], 3),
                    _valued(row["variance"], 3),
                    _valued(row["cosine"], 2),
                    _share(row, ("outcome",)),
                    _share(row, ("chunk", "delta_chunk", "retention", "qa_gain")),
                )
                for row in rows
            ),
        )
        for (state, steps), rows in _by_state(learning["gradients"]).items()
    ]
    return grids


def learning_plots(learning: Learning) -> list[Plot]:
    """By T: the score of every seed at the end; and the mean scores against the memory held."""
    plots = []
    for steps, rows in _by_length(learning["runs"]).items():
        plots += [_seeds(steps, rows, learning["updates"]), _score_against_memory(steps, rows)]
    return plots


def _seeds(steps: int, rows: Sequence[Row], updates: int) -> Plot:
    def draw(axes: Axes) -> None:
        for place, row in enumerate(reversed(rows)):
            for score, collapsed in row["ends"]:
                axes.plot(score, place, "o", color=COLOURS[1 if collapsed else 0], markersize=4, alpha=0.55)
            cell = row["final_score"]
            if cell["low"] is not None:
                axes.plot([cell["low"], cell["high"]], [place, place], color=INK, linewidth=1.4)
            axes.plot(cell["mean"], place, "|", color=INK, markersize=13, markeredgewidth=2.2)
        for told, colour in (("collapsed", COLOURS[1]), ("did not", COLOURS[0])):
            axes.plot([], [], "o", color=colour, markersize=4, label=told)
        axes.axvline(rows[0]["attainable"]["mean"], color=INK, linewidth=0.8, linestyle=":", label="goal's reference")
        axes.set_yticks(range(len(rows)), [row["variant"] for row in reversed(rows)])
        axes.grid(axis="x")
        axes.set_xlabel("score")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.2)

    return Plot(
        f"seeds-{steps}",
        f"Score after {updates} updates, T = {steps}",
        "Dots: seeds. Black: their mean with its bootstrap interval.",
        picture(f"seeds-{steps}", draw, size=(5.6, 0.3 * len(rows) + 1.3)),
    )


def _score_against_memory(steps: int, rows: Sequence[Row]) -> Plot:
    def draw(axes: Axes) -> None:
        for place, row in enumerate(rows):
            colour = COLOURS[place % len(COLOURS)]
            axes.plot(row["final_tokens"]["mean"], row["final_score"]["mean"], "os^Dvp*"[place % 7], color=colour)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("words in memory")
        axes.set_ylabel("score")
        label_at_the_side(
            axes, [(row["variant"], row["final_tokens"]["mean"], row["final_score"]["mean"]) for row in rows]
        )

    return Plot(
        f"held-{steps}",
        f"Score against memory, T = {steps}",
        "After the last update, means over the seeds.",
        picture(f"held-{steps}", draw, size=(5.6, max(3.2, 0.22 * len(rows) + 0.8)), right=0.62),
    )


def _by_length(rows: Sequence[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row["steps"], []).append(row)
    return found


def _by_state(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row["state"], row["steps"]), []).append(row)
    return found


def _until(cell: Row, limit: int | None = None) -> str:
    """35 [30, 45], with > where it lies beyond the limit; a dash where the median does and no limit is known."""
    beyond = NOTHING if limit is None else f"> {limit}"
    median, low, high = (None if cell[part] is None else f"{cell[part]:,.0f}" for part in ("median", "low", "high"))
    if low is None:
        return beyond
    return f"{median or beyond} [{low}, {high or beyond}]"


def _collapsed(row: Row) -> str:
    told = ", ".join(f"{how} {count}" for how, count in sorted(row["collapsed"].items()))
    return f"{sum(row['collapsed'].values())} of {row['runs']}" + (f" ({told})" if told else "")


def _valued(cell: Row, digits: int) -> str:
    return with_interval({**cell, "mean": cell["value"]}, digits)


def _share(row: Row, names: Sequence[str]) -> str:
    share = round(sum(row["shares"].get(name, 0.0) for name in names), 2) + 0.0  # no −0.00
    return f"{share:.2f}".replace("-", "−") if row["shares"] else NOTHING
