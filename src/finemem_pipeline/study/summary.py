"""Many rows to few numbers: means with bootstrap intervals over units.

A unit is what was drawn independently: a seed, with the planted streams and the managers' chances that follow from it,
or a given stream. A resample draws units with replacement, each with all its rows. All schemes stand on the same
rollouts, so differences are taken rollout by rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]
Cell = dict[str, Any]
"""mean, low, high (None where nothing is known, or there is one unit only), n (values), missing (rows without one)."""

LEVEL = 0.95
RESAMPLES = 2000

MEASURES: dict[str, Callable[[Row], float | None]] = {
    "spearman, left out": lambda row: row["spearman"]["left_out"],
    "spearman, shapley": lambda row: row["spearman"]["shapley"],
    "precision at gold": lambda row: row["precision"],
    "idle share, left out": lambda row: row["idle_share"]["left_out"],
    "idle share, shapley": lambda row: row["idle_share"]["shapley"],
    "calls": lambda row: row["calls"],
}
"""What is reported of a scheme, from a row of `fidelity`. It is the same whenever and wherever it is measured."""

LEADING = "spearman, shapley"
"""The measure by which schemes are compared: it is defined on most rollouts and shares what two steps did."""

REFERENCE = "retrieved"


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """The numbers of a fidelity study: every measure by scheme, the leading one by family, T and habit too, and each
    scheme's paired difference to the paper's.
    """
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    by_scheme = {scheme: [row for row in rows if row["scheme"] == scheme] for scheme in schemes}
    leading = MEASURES[LEADING]
    return {
        "units": len({row["unit"] for row in rows}),
        "episodes": len(rows) // max(1, len(schemes)),
        "level": LEVEL,
        "leading": LEADING,
        "reference": REFERENCE if REFERENCE in schemes else None,
        "schemes": [
            {
                "scheme": scheme,
                "measures": {name: over_units(own, value) for name, value in MEASURES.items()},
                "milliseconds": over_units(own, lambda row: row["milliseconds"]),
                "difference": _difference(own, by_scheme.get(REFERENCE, []), leading),
            }
            for scheme, own in by_scheme.items()
        ],
        "by": {
            part: {
                str(name): {
                    scheme: over_units([row for row in own if row[part] == name], leading)
                    for scheme, own in by_scheme.items()
                }
                for name in dict.fromkeys(row[part] for row in rows)
            }
            for part in ("family", "steps", "habit")
        },
    }


def over_units(rows: Iterable[Row], value: Callable[[Row], float | None]) -> Cell:
    """The mean of a value over rows, with the percentile interval of resampled units."""
    by_unit: dict[Any, list[float]] = {}
    missing = 0
    for row in rows:
        found = value(row)
        if found is None:
            missing += 1
        else:
            by_unit.setdefault(row["unit"], []).append(float(found))
    n = sum(map(len, by_unit.values()))
    if not n:
        return {"mean": None, "low": None, "high": None, "n": 0, "missing": missing}
    sums = np.array([sum(values) for values in by_unit.values()])
    counts = np.array([len(values) for values in by_unit.values()])
    if len(sums) == 1:
        return {"mean": float(sums[0] / n), "low": None, "high": None, "n": n, "missing": missing}
    chosen = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"mean": float(sums.sum() / n), "low": float(low), "high": float(high), "n": n, "missing": missing}


def _difference(own: Sequence[Row], others: Sequence[Row], value: Callable[[Row], float | None]) -> Cell | None:
    """own − others, rollout by rollout; None where there is nothing else to compare with."""
    theirs = {_rollout(row): value(row) for row in others}
    if not theirs or own is others:
        return None

    def apart(row: Row) -> float | None:
        mine, other = value(row), theirs.get(_rollout(row))
        return None if mine is None or other is None else mine - other

    return over_units(own, apart)


def _rollout(row: Row) -> tuple[Any, ...]:
    return row["family"], row["steps"], row["habit"], row["seed"], row["stream"]
