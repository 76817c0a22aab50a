"""benchmarks/evaluate_growth.py, at sizes that take no time."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def growth(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(project / "benchmarks")
    return importlib.import_module("evaluate_growth")


def test_a_stream_of_chunks_of_about_two_thousand_tokens_is_evaluated_to_the_end(growth: ModuleType):
    found = growth.evaluate(3, model=None)
    assert 3 * 700 < found["tokens"] < 3 * 1500  # words
    assert 0 < found["seconds"] < 60


def rows(*seconds: float, gigabytes: float = 1.0) -> list[dict[str, float]]:
    return [
        {"tokens": 1000.0 * 2**place, "seconds": spent, "bytes": gigabytes * 1e9} for place, spent in enumerate(seconds)
    ]


def test_a_slope_is_the_power_by_which_the_time_grows_at_the_largest_sizes(growth: ModuleType):
    assert growth.slope(rows(5.0, 1.0, 2.0, 4.0)) == pytest.approx(1.0)
    assert growth.slope(rows(1.0, 1.0, 4.0, 16.0)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("measured", "held"),
    [(rows(1.0, 2.0, 4.0), True), (rows(1.0, 4.0, 16.0), False), (rows(1.0, 2.0, 4.0, gigabytes=2.5), False)],
)
def test_the_verdict_wants_linear_time_and_two_gigabytes(growth: ModuleType, measured, held):
    assert growth.verdict(measured)[0] is held
    assert growth.verdict(measured)[1].startswith("OK: slope 1.00" if held else "MISSED: slope ")
