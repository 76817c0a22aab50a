"""Cells of backbones and readers joined: what training gained in each, and whether its sign is the same in all.

A cell says how sure it is of itself, over streams, questions and training seeds. Over cells nothing is averaged and no
interval is drawn: a few backbones and readers are no sample of all there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finemem_pipeline.evaluation.results import StreamResult
from finemem_pipeline.evaluation.table import evaluate_table

TRAINED, REFERENCE = "trained", "warm_started"


@dataclass(frozen=True, slots=True)
class CellResults:
    """What every manager scored with one backbone, as one reader saw it."""

    backbone: str
    reader: str
    results: tuple[StreamResult, ...]


def join(cells: Sequence[CellResults], *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Keys of the document:

    - `backbones`, `readers`, `managers`, `benchmarks`: names, in order
    - `cells`: of each `backbone` and `reader` its `evaluation` (the document of `evaluate_table`) and its `gain`, the
      entry of trained against warm_started over all sources
    - `signs`: how many cells have a gain `above` 0, `below` it, at 0 (`level`) or none (`unscored`), and how many of
      those above and below have an interval that excludes 0 (`clearly_above`, `clearly_below`)
    - `holds`: whether all cells have a gain of the same sign
    """
    joined = []
    for cell in cells:
        evaluation = evaluate_table(cell.results, REFERENCE, resamples=resamples, seed=seed)
        [gain] = [d for d in evaluation["differences"] if d["manager"] == TRAINED and d["scope"] == "mean"]
        joined.append({"backbone": cell.backbone, "reader": cell.reader, "evaluation": evaluation, "gain": gain})
    signs = _signs([cell["gain"] for cell in joined])
    return {
        "backbones": list(dict.fromkeys(cell.backbone for cell in cells)),
        "readers": list(dict.fromkeys(cell.reader for cell in cells)),
        "managers": list(dict.fromkeys(result.manager for cell in cells for result in cell.results)),
        "benchmarks": list(dict.fromkeys(result.benchmark for cell in cells for result in cell.results)),
        "cells": joined,
        "signs": signs,
        "holds": len(cells) in (signs["above"], signs["below"]),
    }


def _signs(gains: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found = [gain["mean"] for gain in gains if gain["mean"] is not None]
    clear = [gain["mean"] for gain in gains if gain["mean"] is not None and gain["excludes_zero"]]
    return {
        "above": sum(mean > 0 for mean in found),
        "clearly_above": sum(mean > 0 for mean in clear),
        "below": sum(mean < 0 for mean in found),
        "clearly_below": sum(mean < 0 for mean in clear),
        "level": sum(mean == 0 for mean in found),
        "unscored": len(gains) - len(found),
    }
