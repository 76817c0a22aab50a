"""Two processes that train together, against one that trains alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from finemem_pipeline.stopping import RESUME_EXIT_CODE

pytestmark = [
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the extra `distributed`"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*rollout_func"),
]

STEADY = {"r": 4, "alpha": 8, "dropout": 0.0, "layers": None}  # dropout is drawn by each process for itself
ALONE = {
    "advantage": "moving_average",
    "outcome": {"weight": 1.0, "spread": {"scheme": "lineage", "beta": 0.5, "scale": "T"}},
    "format": {"weight": 1.0},
}
WHOLE = {"lora": None, "steps": 2, "kl": 0.1, "gradient_checkpointing": True}
SINGLE = {"lora": STEADY, "steps": 2, "reward": ALONE, "group_size": 1}
ZERO_3 = {"lora": STEADY, "zero_stage": 3, "checkpoint_every": 1}
STOPPED = {"stopped": ("stopped", {"lora": STEADY, "act": "terminate"})}
LESSONS = {
    "zero_2": ("zero_2", {"lora": STEADY, "checkpoint_every": 2}),
    "gone_on": ("stopped", {"lora": STEADY}),
    "zero_3": ("zero_3", {**ZERO_3, "steps": 3}),
    "zero_3_begun": ("zero_3_again", {**ZERO_3, "steps": 2}),
    "zero_3_again": ("zero_3_again", {**ZERO_3, "steps": 3}),
    "whole": ("whole", {**WHOLE, "zero_stage": 3}),
    "bf16": ("bf16", {"lora": STEADY, "steps": 2, "bf16": True}),
    "single": ("single", SINGLE),
    "reader_lost": ("reader", {"lora": STEADY, "loses_reader": True}),
    "reader_back": ("reader", {"lora": STEADY}),
    "not_a_number": ("not_a_number", {"lora": STEADY, "checkpoint_every": 1, "act": "not_a_number"}),
    "broken": ("broken", {"lora": STEADY, "act": "crash"}),
}


def two(model: Path, folder: Path, lessons: dict) -> subprocess.CompletedProcess[str]:
    """Two processes that do these lessons."""
    folder.mkdir(exist_ok=True)
    (folder / "lessons.json").write_text(json.dumps(lessons))
    command = ["-m", "finemem_pipeline.launch", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [sys.executable, *command, str(Path(__file__).with_name("processes.py")), str(model), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


class Class:
    """What two processes and one have left behind."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self.stopped = two(model, folder, STOPPED)
        self.left_by_stop = [path.name for path in (self.run("stopped") / "checkpoints").iterdir()]
        self.done = two(model, folder, LESSONS)

    def outcome(self, name: str) -> dict:
        path = self.folder / f"{name}.json"
        assert path.is_file(), self.done.stderr[-6000:]
        return json.loads(path.read_text())

    def run(self, place: str) -> Path:
        [run] = (self.folder / place).glob("pupil-*")
        return run


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def rollouts(run: Path) -> list[str]:
    return [path.read_text() for path in sorted((run / "rollouts").iterdir())]


def weights(folder: Path):
    from safetensors.torch import load_file

    [file] = folder.glob("*.safetensors")
    return load_file(file)


@pytest.fixture(scope="module")
def taught(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Class:
    return Class(tiny_model, tmp_path_factory.mktemp("two"))


SAME = ("outcome", "reward/total", "groups/dead_columns", "memory/tokens", "completion/length", "reader/questions")
LIKE = ("loss", "grad_norm", "learning_rate")
MEANS_OF_PASSES = ("entropy", "kl")  # TRL's, over passes that are cut otherwise


@pytest.mark.parametrize(
    ("lesson", "changes", "tolerance"),
    [
        ("zero_2", {"lora": STEADY}, 1e-5),
        ("zero_3", {"lora": STEADY, "steps": 3}, 1e-5),
        ("whole", WHOLE, 1e-4),
        ("single", SINGLE, 1e-5),
        ("bf16", {"lora": STEADY, "steps": 2, "bf16": True}, 1e-2),
    ],
)
def test_two_processes_play_and_learn_what_one_does(taught, pupil, lesson, changes, tolerance):
    import torch

    alone = pupil(**changes)
    result = alone.train()
    run = taught.run(lesson)
    assert rollouts(run) == rollouts(alone.run.folder)  # advantages too, to the last bit
    mine, theirs = alone.run.metrics(), metrics(run)
    assert [row["step"] for row in theirs] == [row["step"] for row in mine]
    assert any(row["grad_norm"] > 0 for row in mine)
    for left, right in zip(mine, theirs, strict=True):
        assert right["seconds/wait"] >= 0.0
        assert {name: right[name] for name in SAME} == {name: left[name] for name in SAME}
        assert {name: right[name] for name in LIKE} == pytest.approx(
            {name: left[name] for name in LIKE}, rel=tolerance, abs=1e-6
        )
        means = {name: left[name] for name in MEANS_OF_PASSES if name in right}  # ZeRO-3 has no kl: see drift
        assert "entropy" in means
        assert {name: right[name] for name in means} == pytest.approx(means, rel=0.01, abs=1e-6)
    expected, found = weights(result), weights(Path(taught.outcome(lesson)["result"]))
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("lesson", "stage", "optimizer"),
    [
        ("zero_2", 2, "DeepSpeedZeroOptimizer"),
        ("zero_3", 3, "DeepSpeedZeroOptimizer_Stage3"),
        ("whole", 3, "DeepSpeedZeroOptimizer_Stage3"),
    ],
)
def test_deepspeed_is_at_work(taught, lesson, stage, optimizer):
    told = taught.outcome(lesson)
    assert (told["engine"], told["enabled"], told["shares"]) == ("DeepSpeedEngine", True, 2)
    assert (told["stage"], told["optimizer"]) == (stage, optimizer)
    assert len(list(taught.run(lesson).glob("checkpoints/*/global_step*/*optim_states.pt"))) % 2 == 0


def test_weights_stay_in_float32_where_bfloat16_is_multiplied(taught):
    assert {weight.dtype.itemsize for weight in weights(Path(taught.outcome("bf16")["result"])).values()} == {4}


def test_a_run_of_several_processes_goes_on_from_its_checkpoint_bit_by_bit(taught):
    whole, again = taught.run("zero_3"), taught.run("zero_3_again")
    assert rollouts(again) == rollouts(whole)
    same_weights(Path(taught.outcome("zero_3_again")["result"]), Path(taught.outcome("zero_3")["result"]))


def same_weights(found: Path, expected: Path) -> None:
    import torch

    one, other = weights(found), weights(expected)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_reader_lost_by_one_process_stops_all_with_its_message_and_a_checkpoint(taught):
    assert taught.outcome("reader_lost") == {"error": "process 1 of 2: the reader has gone home"}
    assert rollouts(taught.run("reader")) == rollouts(taught.run("zero_2"))
    same_weights(Path(taught.outcome("reader_back")["result"]), Path(taught.outcome("zero_2")["result"]))


def test_a_loss_that_is_no_number_on_one_process_stops_all_before_the_weights_move(taught):
    assert "update 3 was not made: its loss is nan" in taught.outcome("not_a_number")["error"]
    run = taught.run("not_a_number")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["checkpoint-1", "checkpoint-2"]
    rows = (run / "not_finite" / "step-00003" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 2 * 3 * 3  # of both processes: streams, steps, siblings
    same_weights(run / "not_finite" / "step-00003" / "weights", run / "checkpoints" / "checkpoint-2")


def test_sigterm_to_one_process_saves_a_checkpoint_of_all_and_ends_all_with_the_resume_code(taught):
    assert taught.stopped.returncode == RESUME_EXIT_CODE, taught.stopped.stderr[-4000:]
    assert "Traceback" not in taught.stopped.stderr
    assert taught.left_by_stop == ["checkpoint-3"]
    assert rollouts(taught.run("stopped")) == rollouts(taught.run("zero_2"))
    same_weights(Path(taught.outcome("gone_on")["result"]), Path(taught.outcome("zero_2")["result"]))


def test_a_process_that_breaks_in_the_middle_of_common_work_ends_all_and_only_it_tells_where(taught):
    assert taught.outcome("broken") == {"error": "process 1 of 2: ValueError: a bug of the second process"}
    assert taught.done.returncode == 1
    assert taught.done.stderr.count("ValueError: a bug of the second process") == 1
    assert taught.done.stderr.count("Traceback") == 1
    assert not list(taught.run("broken").glob("policy-*"))
