"""A run that was stopped, and the one that goes on: together they are the run that was left alone, bit by bit."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from finemem_pipeline.stopping import RESUME_EXIT_CODE, Stopped, orderly
from finemem_pipeline.training.runs import DiskFull

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*rollout_func"),
]

ALONE = {
    "advantage": "moving_average",
    "outcome": {"weight": 1.0, "spread": {"scheme": "lineage", "beta": 0.5, "scale": "T"}},
    "format": {"weight": 1.0},
}


class Killed(BaseException):
    """What no code catches, as nobody is asked before SIGKILL."""


def stop(error):
    def act(rows):
        raise error

    return act


def terminate(rows):
    os.kill(os.getpid(), signal.SIGTERM)
    return rows


@pytest.mark.parametrize(
    "changes",
    [
        {"kl": 0.1},
        {"lora": None, "bf16": True, "gradient_checkpointing": True},
        {"reward": ALONE, "group_size": 1},
    ],
    ids=["adapter and reference", "all weights in bf16", "moving baseline"],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(pupil, changes):
    undisturbed = pupil("alone", checkpoint_every=2, **changes)
    undisturbed.train()
    alone = undisturbed.left_behind()
    assert all(row["grad_norm"] > 0 for row in alone["metrics"])
    first = pupil(checkpoint_every=2, **changes)
    first.before_learning(4, stop(Killed()))
    with pytest.raises(Killed):
        first.train()
    assert [path.name for path in first.run.checkpoints()] == ["checkpoint-2"]
    second = pupil(checkpoint_every=2, **changes)
    second.train()
    assert second.left_behind() == alone


@pytest.mark.parametrize("error", [KeyboardInterrupt(), None], ids=["Ctrl-C", "SIGTERM"])
def test_who_is_stopped_in_the_middle_of_an_update_keeps_all_that_were_whole(pupil, undisturbed, error):
    first = pupil()  # no checkpoint is due before the end
    first.before_learning(4, stop(error) if error else terminate)
    with pytest.raises((KeyboardInterrupt, Stopped)) as stopped, orderly():
        first.train()
    if error is None:
        assert stopped.value.code == RESUME_EXIT_CODE
    assert [path.name for path in first.run.checkpoints()] == ["checkpoint-3"]
    played = []
    second = pupil()
    second.before_learning(4, lambda rows: played.append(4) or rows)
    second.before_learning(3, lambda rows: played.append(3) or rows)
    second.train()
    assert played == [4]
    assert second.left_behind() == undisturbed


def test_sigterm_in_the_middle_of_the_optimisers_step_waits_for_the_end_of_the_update(pupil, undisturbed, monkeypatch):
    import torch

    first = pupil()
    step, steps = torch.optim.AdamW.step, []

    def terminated(self, *args, **kwargs):
        steps.append(len(steps) + 1)
        if steps[-1] == 2:
            terminate(None)
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", terminated)
        with pytest.raises(Stopped), orderly():
            first.train()
    assert steps == [1, 2]
    assert [row["step"] for row in first.run.metrics()] == [1, 2]
    assert [path.name for path in first.run.checkpoints()] == ["checkpoint-2"]
    second = pupil()
    second.train()
    assert second.left_behind() == undisturbed


def test_sigterm_before_the_first_update_leaves_nothing_to_go_on_from(pupil):
    first = pupil()
    first.before_learning(1, terminate)
    with pytest.raises(Stopped), orderly():
        first.train()
    assert first.run.checkpoints() == []


def test_sigterm_after_the_last_update_leaves_the_result_to_the_next_run(pupil, undisturbed, monkeypatch):
    first = pupil()
    append = first.run.append_metrics
    monkeypatch.setattr(
        type(first.run), "append_metrics", lambda run, row: (append(row), terminate(None) if row["step"] == 5 else None)
    )
    with pytest.raises(Stopped), orderly():
        first.train()
    monkeypatch.undo()
    assert not first.run.result("policy-00005").exists()
    second = pupil()
    assert second.train().is_dir()
    left, drawn_in_no_update = second.left_behind(), {"next number": None}
    assert {**left, **drawn_in_no_update} == {**undisturbed, **drawn_in_no_update}


def test_checkpoints_of_any_number_stay(pupil):
    every = pupil(checkpoint_every=1, keep_checkpoints=3)
    every.train()
    assert [path.name for path in every.run.checkpoints()] == ["checkpoint-3", "checkpoint-4", "checkpoint-5"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB at the place of the pupil's checkpoints."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_stops_the_run_with_a_checkpoint_to_go_on_from(pupil, small_disk):
    first = pupil("disk", lora=None, checkpoint_every=1)  # all weights: 1.5 MB a checkpoint
    ballast = small_disk / "ballast"

    def fill(rows):
        ballast.write_bytes(b"0" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize - 600_000))
        return rows

    first.before_learning(3, fill)
    with pytest.raises(DiskFull, match=r"checkpoint-3: the disk is full.* goes on from checkpoint-2 once"):
        first.train()
    assert [path.name for path in first.run.checkpoints()] == ["checkpoint-1", "checkpoint-2"]
    assert not first.run.writing_folder.exists()
    ballast.unlink()
    second = pupil("disk", lora=None, checkpoint_every=1)
    second.train()
    found = second.left_behind()
    alone = pupil("alone", lora=None, checkpoint_every=1)
    alone.train()
    assert found == alone.left_behind()


def test_a_full_disk_when_a_run_is_stopped_does_not_hide_why_it_was(pupil, monkeypatch, caplog):
    first = pupil()
    first.before_learning(3, terminate)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("finemem_pipeline.training.checkpoints.write_json", full)
    with pytest.raises(Stopped), orderly():
        first.train()
    assert first.run.checkpoints() == []
    assert "the disk is full, and the checkpoint of update 2 was not written" in caplog.text


def test_a_checkpoint_holds_all_that_its_run_goes_on_with(pupil):
    whole = pupil(checkpoint_every=5)
    whole.train()
    [folder] = whole.run.checkpoints()
    assert {
        *("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
        *("trainer_state.json", "baseline.json"),
    } <= {path.name for path in Path(folder).iterdir()}
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 5
