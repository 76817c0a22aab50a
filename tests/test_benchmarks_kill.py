"""benchmarks/kill_test.py, without a run: where it strikes, and that it would notice a difference."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def kill_test(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(project / "benchmarks")
    return importlib.import_module("kill_test")


@pytest.mark.parametrize("seed", range(20))
def test_kills_strike_both_phases_writing_and_between_and_a_process_that_starts(kill_test: ModuleType, seed: int):
    plans = kill_test.plans(10, seed)
    assert len(plans) == 10
    assert [plan.phase for plan in plans] == ["warm_start"] * 3 + ["fine_mem"] * 7
    assert {"writing", "update"} <= {plan.kind for plan in plans[:3]}
    assert sum(plan.kind == "starting" for plan in plans) == 1
    for phase in ("warm_start", "fine_mem"):
        points = [plan.after for plan in plans if plan.phase == phase and plan.kind != "starting"]
        assert points == sorted(set(points))
    assert points[-1] + 2 < kill_test.updates_for(10)
    assert plans == kill_test.plans(10, seed)
    assert plans != kill_test.plans(10, seed + 1)


def test_the_parameters_can_be_used(kill_test: ModuleType, project: Path):
    import yaml

    from finemem_pipeline.config import parse_parameters

    raw: dict = {}
    for path in sorted((project / "conf" / "base").glob("parameters*.yml")):
        raw |= yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, values in kill_test.PARAMETERS.items():
        raw[section] = {**raw[section], **values}
    assert parse_parameters(raw).training.recipe == "victim"


def leave(
    folder: Path, weight: float = 0.5, loss: float = 0.25, seconds: float = 1.0, said: str = "[]", norm: float = 1.0
) -> None:
    """What a run leaves, as far as it is compared."""
    import torch
    from safetensors.torch import save_file

    models = folder / "data" / "06_models"
    warm, policy = models / "warm_start-1", models / "fine_mem-1"
    for place, value in (
        (warm / "warm", 0.1),
        (warm / "imitation", 0.2),
        (warm / "checkpoints" / "checkpoint-8", 0.2),
        (policy / "policy-00014", weight),
        (policy / "checkpoints" / "checkpoint-14", weight),
    ):
        place.mkdir(parents=True)
        save_file({"weight": torch.tensor([value, 1.0])}, place / "model.safetensors")
        torch.save({"state": {0: {"step": torch.tensor(3.0)}}}, place / "optimizer.pt")
    row = {"step": 1, "loss": loss, "grad_norm": norm, "seconds/step": seconds, "tokens_per_second": 9 / seconds}
    (policy / "metrics.jsonl").write_text("".join(json.dumps({**row, "step": n}) + "\n" for n in range(1, 15)))
    (policy / "rollouts").mkdir()
    (policy / "rollouts" / "step-00001.jsonl").write_text(said)


def test_the_same_weights_metrics_and_rollouts_are_identical_whatever_the_timings(kill_test, tmp_path, capsys):
    leave(tmp_path / "reference")
    leave(tmp_path / "project", seconds=3.0)
    kill_test.compare(tmp_path / "reference", tmp_path / "project")
    told = capsys.readouterr().out
    assert "fine_mem/policy-00014: " in told
    assert "metrics of 14 updates and 1 files of rollouts are the same; 14 moved the weights" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weight": 0.5000001}, "fine_mem/policy-00014 differs"),
        ({"loss": 0.25000001}, r"the metrics of update 1 differ .*'loss': \(0.25, 0.25000001\)"),
        ({"said": "[1]"}, "the rollouts differ"),
    ],
)
def test_the_smallest_difference_is_told(kill_test, tmp_path, change, told):
    leave(tmp_path / "reference")
    leave(tmp_path / "project", **change)
    with pytest.raises(kill_test.Different, match=told):
        kill_test.compare(tmp_path / "reference", tmp_path / "project")


def test_a_comparison_of_runs_that_learned_nothing_is_none(kill_test, tmp_path):
    leave(tmp_path / "reference", norm=0.0)
    leave(tmp_path / "project", norm=0.0)
    with pytest.raises(kill_test.Unexpected, match="most updates moved nothing"):
        kill_test.compare(tmp_path / "reference", tmp_path / "project")


def test_a_checkpoint_that_is_not_that_of_the_reference_is_told(kill_test, tmp_path):
    leave(tmp_path / "reference")
    leave(tmp_path / "project", weight=0.25)
    assert kill_test.compare_checkpoint(tmp_path / "reference", tmp_path / "project", "warm_start") == 8
    with pytest.raises(kill_test.Different, match="checkpoint-14 is not that of the reference"):
        kill_test.compare_checkpoint(tmp_path / "reference", tmp_path / "project", "fine_mem")
