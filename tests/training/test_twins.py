from __future__ import annotations

import json
from pathlib import Path

import pytest

from finemem_pipeline.errors import FinememError
from finemem_pipeline.training.twins import twin


def run(root: Path, name: str, seed: int, *, steps: int = 8, rate: float = 0.1, warm_rate: float = 0.1) -> Path:
    """A finished training with its warm start; returns the trained weights."""
    warm = root / f"warm_start-{name}"
    (warm / "warm").mkdir(parents=True)
    (warm / "config.json").write_text(json.dumps({"seed": seed, "rate": warm_rate}))
    folder = root / f"fine_mem-{name}"
    result = folder / f"policy-{steps:05d}"
    result.mkdir(parents=True)
    config = {"training": {"seed": seed, "rate": rate}, "warm_start": warm.name, "variant": "fine_mem"}
    (folder / "config.json").write_text(json.dumps(config))
    return result


def test_a_training_that_differs_by_its_seed_alone_is_found(tmp_path):
    mine = run(tmp_path, "aaa", seed=0)
    other = run(tmp_path, "bbb", seed=1)
    assert twin(mine, 1) == (other, tmp_path / "warm_start-bbb")


@pytest.mark.parametrize(
    "difference", [{"seed": 2}, {"seed": 1, "rate": 0.2}, {"seed": 1, "warm_rate": 0.2}, {"seed": 1, "steps": 4}]
)
def test_a_training_that_differs_in_more_is_not_taken(tmp_path, difference):
    mine = run(tmp_path, "aaa", seed=0)
    run(tmp_path, "bbb", **difference)
    with pytest.raises(FinememError, match=r"no finished training with seed 1 .*training\.seed=1"):
        twin(mine, 1)


def test_what_is_left_of_a_removed_run_is_passed_over(tmp_path):
    mine = run(tmp_path, "bbb", seed=0)
    (run(tmp_path, "aaa", seed=1).parent / "config.json").unlink()
    other = run(tmp_path, "ccc", seed=1)
    assert twin(mine, 1)[0] == other
