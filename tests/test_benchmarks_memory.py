"""benchmarks/step_memory.py, at sizes that take no time."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def memory(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(project / "benchmarks")
    return importlib.import_module("step_memory")


def test_a_peak_is_what_was_held_at_most_above_what_was_held_before(memory: ModuleType):
    kept = []
    size = 64 * memory.MIB

    def work() -> None:
        kept.append(bytearray(b"x" * size))
        bytearray(b"y" * size)

    assert 1.9 * size < memory.peak_of(work) < 3.2 * size
    assert memory.peak_of(lambda: None) < 0.2 * size  # what is kept was there before


def test_the_peak_grows_by_so_much_with_a_token(memory: ModuleType):
    peaks = [(prompt, completion, 5 + 3 * prompt + 2 * completion) for prompt in (1, 2, 4) for completion in (1, 3)]
    assert memory.per_token(peaks) == pytest.approx((3.0, 2.0))


def test_growth_compares_the_last_quarter_with_the_second(memory: ModuleType):
    level = [(step, 100) for step in range(10, 90, 10)]
    assert memory.growth(level) == 1.0
    assert memory.growth([(10, 900), (20, 900), *level[2:]]) == 1.0  # caches fill up at the beginning
    assert memory.growth([(step, 100 + step) for step in range(10, 90, 10)]) == pytest.approx(175 / 135)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:.*rollout_func")
def test_the_long_training_learns_and_is_looked_at_now_and_then(memory: ModuleType, tmp_path: Path):
    looks: list[tuple[int, int]] = []
    memory.train_long(20, tmp_path, lambda step, size: looks.append((step, size)))
    assert [step for step, _ in looks] == [10, 20]
    assert all(size > 100 * memory.MIB for _, size in looks)
    [metrics] = tmp_path.glob("long-*/metrics.jsonl")
    rows = [line for line in metrics.read_text(encoding="utf-8").splitlines() if '"grad_norm": 0.0,' not in line]
    assert len(rows) > 10
