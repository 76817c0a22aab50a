"""Many runs of the learning study to few numbers. The unit is the seed: variants share streams and chances by it, so
what is compared is compared seed by seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from finemem_pipeline.study.ledger import Row
from finemem_pipeline.study.summary import LEVEL, RESAMPLES

UNTIL = ("updates_to_goal", "calls_to_goal", "questions_to_goal", "updates_to_facts", "calls_to_facts")
"""What it took a run; None in a row: it never got there."""

MARKS = (
    "attainable",
    "mean_score",
    "peak_score",
    "final_score",
    "final_corrected",
    "final_tokens",
    "final_kept",
    "tokens_at_goal",
)
COMPARED = ("mean_score", "final_score", "final_corrected", "final_tokens")


def summarise(rows: Sequence[Row], compare: Iterable[Sequence[str]] = ()) -> dict[str, list[Row]]:
    """`runs`: one row per variant and T, with medians of UNTIL and means of MARKS over seeds, and their bootstrap
    intervals; `ends` has the last score of every seed and whether the run collapsed. `differences`: for every pair of
    variants in `compare` and every T that both have, first − second of COMPARED, seed by seed; pairs that were not run
    are left out.
    """
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["variant"], row["steps"]), []).append(row)
    lengths = dict.fromkeys(steps for _, steps in groups)
    pairs = [
        (one, other, steps)
        for one, other in compare
        for steps in lengths
        if (one, steps) in groups and (other, steps) in groups
    ]
    return {
        "runs": [
            {"variant": variant, "steps": steps, "runs": len(own)}
            | {name: until(own, name) for name in UNTIL}
            | {name: mean([row[name] for row in own]) for name in MARKS}
            | {"censored": sum(row["updates_to_goal"] is None for row in own)}
            | {"collapsed": dict(Counter(row["collapsed"] for row in own if row["collapsed"]))}
            | {"ends": [[row["final_score"], row["collapsed"] is not None] for row in own]}
            | {"curve": _curve(own)}
            for (variant, steps), own in groups.items()
        ],
        "differences": [
            {"variant": one, "reference": other, "steps": steps}
            | {name: _difference(groups[one, steps], groups[other, steps], name) for name in COMPARED}
            for one, other, steps in pairs
        ],
    }


def until(rows: Sequence[Row], name: str) -> Row:
    """The median over seeds with its interval, and the quartiles. A run that never got there counts as later than any
    that did, so a number may lie beyond the limit: None.
    """
    values = np.array([np.inf if row[name] is None else row[name] for row in rows])
    drawn = values[np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))]
    medians = np.quantile(drawn, 0.5, axis=1, method="inverted_cdf")
    low, high = np.quantile(medians, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    quarter, median, three = np.quantile(values, [0.25, 0.5, 0.75], method="inverted_cdf")
    found = {"median": median, "low": low, "high": high, "first_quartile": quarter, "third_quartile": three}
    return {part: float(value) if np.isfinite(value) else None for part, value in found.items()}


def mean(values: Sequence[float | None]) -> Row:
    """The mean of what is known, its interval (None for a single run) and the standard deviation over the runs."""
    known = np.array([value for value in values if value is not None])
    found: Row = {"mean": float(known.mean()) if len(known) else None, "low": None, "high": None, "spread": None}
    if len(known) > 1:
        drawn = known[np.random.default_rng(0).integers(0, len(known), (RESAMPLES, len(known)))].mean(axis=1)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found |= {"low": float(low), "high": float(high), "spread": float(known.std(ddof=1))}
    return found | {"n": len(known), "missing": len(values) - len(known)}


def _difference(own: Sequence[Row], others: Sequence[Row], name: str) -> Row:
    theirs: Mapping[int, float | None] = {row["seed"]: row[name] for row in others}
    pairs = [(row[name], theirs[row["seed"]]) for row in own if row["seed"] in theirs]
    return mean([None if one is None or other is None else one - other for one, other in pairs])


def _curve(rows: Sequence[Row]) -> list[Row]:
    """Score and tokens held by update, averaged over the seeds; their runs sit exams at the same updates."""
    exams = zip(*(row["curve"] for row in rows), strict=True)
    names = ("score", "tokens")
    return [
        {"update": at[0]["update"]} | {name: float(np.mean([each[name] for each in at])) for name in names}
        for at in exams
    ]
