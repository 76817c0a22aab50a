from __future__ import annotations

import pytest

from finemem_pipeline.training import drift
from finemem_pipeline.training.drift import Drift, chosen, share
from finemem_pipeline.training.samples import StepSample

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*rollout_func"),
]

STILL = {"r": 4, "alpha": 8, "dropout": 0.0, "layers": None}  # TRL measures with dropout, we do not


def row(place: int, filler: bool = False) -> StepSample:
    return StepSample((1,), (2,), (), 1.0, ("e", place, 0), filler)


def test_one_played_row_in_sixteen_is_looked_at_and_at_least_two():
    rows = [row(place) for place in range(64)]
    assert [each.key[1] for each in chosen(rows)] == [0, 16, 32, 48]
    assert [each.key[1] for each in chosen(rows[:20])] == [0, 10]
    assert chosen(rows[:1]) == rows[:1]
    assert [each.key[1] for each in chosen([row(place, filler=place not in (3, 5, 9)) for place in range(32)])] == [
        3,
        5,
    ]


def test_processes_share_the_rows_and_each_looks_at_as_many():
    rows = [row(place) for place in range(3)]
    assert share(rows, 0, 1) == rows
    told = [[(each.key[1], each.filler) for each in share(rows, process, 2)] for process in (0, 1)]
    assert told == [[(0, False), (2, False)], [(1, False), (0, True)]]


def test_the_divergence_from_the_start_is_that_of_trl(pupil, monkeypatch):
    monkeypatch.setattr(drift, "ONE_IN", 1)
    same = {"lora": STILL, "steps": 4, "learning_rate": 0.03, "warmup_steps": 0, "micro_batch": 18}
    theirs, ours = pupil("theirs", kl=1e-9, **same), pupil("ours", kl=0.0, **same)
    theirs.train()
    ours.train()
    expected = [row["kl"] for row in theirs.run.metrics()]
    assert expected[0] < 1e-6
    assert expected[-1] > 1e-3
    assert [row["kl"] for row in ours.run.metrics()] == pytest.approx(expected, rel=0.02, abs=1e-6)


def test_the_divergence_of_an_update_is_large_where_the_step_is(pupil):
    same = {"steps": 2, "warmup_steps": 0}
    small, large = pupil("small", learning_rate=1e-3, **same), pupil("large", learning_rate=0.03, **same)
    small.train()
    large.train()
    [first, second] = [[row["kl_update"] for row in each.run.metrics()] for each in (small, large)]
    assert all(0 < 10 * ours < theirs for ours, theirs in zip(first, second, strict=True))


def test_looking_changes_nothing_of_the_training(pupil, monkeypatch):
    looked = pupil("looked", steps=2)
    looked.train()
    seen = looked.left_behind()
    monkeypatch.setattr(Drift, "before", lambda self, rows: None)
    monkeypatch.setattr(Drift, "on_step_end", lambda self, *args, **kwargs: None)
    blind = pupil("blind", steps=2)
    blind.train()
    unseen = blind.left_behind()
    for name in ("weights", "rollouts", "next number"):
        assert seen[name] == unseen[name]
    assert {"kl", "kl_update"} <= looked.run.metrics()[0].keys() - blind.run.metrics()[0].keys()


def test_where_all_weights_are_trained_only_the_update_is_measured(pupil):
    whole = pupil(lora=None, steps=1, warmup_steps=0)
    whole.train()
    [row] = whole.run.metrics()
    assert "kl" not in row
    assert row["kl_update"] > 0
