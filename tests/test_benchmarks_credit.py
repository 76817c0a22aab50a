"""benchmarks/credit_time.py and benchmarks/credit_growth.py, at sizes that take no time."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from finemem_pipeline.replay import replay


@pytest.fixture
def recorded(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(project / "benchmarks")
    return importlib.import_module("recorded")


@pytest.fixture
def timing(recorded: ModuleType) -> ModuleType:
    return importlib.import_module("credit_time")


@pytest.fixture
def growth(recorded: ModuleType) -> ModuleType:
    return importlib.import_module("credit_growth")


def test_the_memories_of_siblings_grow_to_the_size_and_apart(recorded: ModuleType):
    episode = recorded.stream(steps=6, items=24, chunk_questions=3, questions=7)
    group = recorded.siblings(episode, count=4, items=24)
    assert [len(step.bank) for step in group.rollouts[0].steps] == [4, 8, 12, 16, 20, 24]
    assert len({rollout.steps[-1].bank for rollout in group.rollouts}) == 4
    assert ([len(chunk.questions) for chunk in episode.chunks], len(episode.questions)) == ([3] * 6, 7)
    assert [replay(rollout)[-1] for rollout in group.rollouts] == [rollout.steps[-1].bank for rollout in group.rollouts]


def test_both_sides_answer_alike_and_ours_asks_less(timing: ModuleType, recorded: ModuleType):
    episode = recorded.stream(steps=4, items=16, chunk_questions=2, questions=5)
    ours, usual = timing.measure(episode, recorded.siblings(episode, count=3, items=16))
    assert len(ours.answers) == 3 * (4 * 2 + 5)
    assert sum(bool(answer.score) for answer in ours.answers) > 10
    assert [usage.calls for usage in usual.usage] == [6, 6, 6, 6, 15]
    assert sum(usage.calls for usage in ours.usage) < 39


def test_sides_that_answer_otherwise_are_not_compared(
    timing: ModuleType, recorded: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    other = timing.Rebuilt(k1=0.2)
    monkeypatch.setattr(timing, "Rebuilt", lambda: other)
    episode = recorded.stream(steps=2, items=8, chunk_questions=1, questions=1)
    with pytest.raises(RuntimeError, match="different answers"):
        timing.measure(episode, recorded.siblings(episode, count=2, items=8))


def test_of_every_step_the_fastest_round_counts(timing: ModuleType):
    assert timing.fastest([[1.0, 5.0], [3.0, 2.0]]) == 3.0


def test_every_scheme_can_be_given_its_probes_and_timed(growth: ModuleType):
    assert 0 < growth.seconds(*growth.record(growth.Sizes(steps=4, items=12, questions=8))) < 60


def test_a_slope_is_the_power_by_which_the_cost_grows(growth: ModuleType):
    assert growth.slope([10, 20, 40], [3.0, 6.0, 12.0]) == pytest.approx(1.0)
    assert growth.slope([10, 20, 40], [1.0, 4.0, 16.0]) == pytest.approx(2.0)


def test_the_growth_is_drawn(growth: ModuleType, tmp_path: Path):
    growth.draw({"steps": {10: 0.1, 20: 0.2}, "items": {100: 0.1, 300: 0.3}}, tmp_path / "new" / "growth.svg")
    assert (tmp_path / "new" / "growth.svg").read_text().count("<path") > 4
