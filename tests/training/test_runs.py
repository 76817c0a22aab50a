from __future__ import annotations

import errno
import json
import shutil

import pytest

from finemem_pipeline.errors import FinememError
from finemem_pipeline.training.runs import DiskFull, Run, digest, step_of, write_json


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.open(tmp_path, "fine_mem", {"seed": 0})


def checkpoint(run: Run, step: int):
    with run.writing_checkpoint(step) as folder:
        (folder / "weights").write_text("whole")
    return run.checkpoints_folder / f"checkpoint-{step}"


def test_a_folder_belongs_to_one_configuration(tmp_path):
    first = Run.open(tmp_path, "fine_mem", {"seed": 0, "recipe": {"r": 4}})
    again = Run.open(tmp_path, "fine_mem", {"recipe": {"r": 4}, "seed": 0})
    other = Run.open(tmp_path, "fine_mem", {"seed": 1, "recipe": {"r": 4}})
    assert first == again
    assert first != other
    assert json.loads((first.folder / "config.json").read_text()) == {"seed": 0, "recipe": {"r": 4}}


def test_a_fresh_run_throws_away_what_was_there(tmp_path, run):
    run.append_metrics({"step": 1})
    assert Run.open(tmp_path, "fine_mem", {"seed": 0}).metrics() == [{"step": 1}]
    assert Run.open(tmp_path, "fine_mem", {"seed": 0}, fresh=True).metrics() == []


def test_the_digest_is_that_of_the_content():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})
    assert len(digest("x")) == 12


def test_what_is_kept_is_there_whole_or_not_at_all(run):
    def breaks(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.keep("policy-00002", breaks)
    assert not run.result("policy-00002").exists()
    place = run.keep("policy-00002", lambda folder: (folder / "weights").write_text("1"))
    assert place == run.result("policy-00002")
    assert [path.name for path in place.iterdir()] == ["weights"]  # nothing of the first try


def test_what_is_kept_replaces_what_was_kept_before(run):
    run.keep("warm", lambda folder: (folder / "old").touch())
    run.keep("warm", lambda folder: (folder / "new").touch())
    assert [path.name for path in run.result("warm").iterdir()] == ["new"]


def test_the_newest_checkpoint_is_the_one_with_the_highest_step(run):
    assert run.newest_checkpoint() is None
    checkpoint(run, 9)
    expected = checkpoint(run, 10)
    assert run.newest_checkpoint() == expected
    assert step_of(expected) == 10


def test_a_checkpoint_that_is_being_written_is_none_until_it_is_whole(run):
    with run.writing_checkpoint(3) as folder:
        (folder / "weights").write_text("half")
        assert run.checkpoints() == []
    assert [path.name for path in run.checkpoints()] == ["checkpoint-3"]
    assert [path.name for path in run.checkpoints_folder.iterdir()] == ["checkpoint-3"]


def test_a_write_that_fails_leaves_the_checkpoints_as_they_were(run):
    def breaks():
        with run.writing_checkpoint(4) as folder:
            (folder / "weights").write_text("half")
            raise KeyboardInterrupt

    checkpoint(run, 3)
    with pytest.raises(KeyboardInterrupt):
        breaks()
    assert [path.name for path in run.checkpoints_folder.iterdir()] == ["checkpoint-3"]


def test_old_checkpoints_go_but_for_the_newest_and_the_spared(run):
    for step in (2, 4, 6, 8, 10):
        checkpoint(run, step)
    run.prune_checkpoints(2, spared={4})
    assert [step_of(path) for path in run.checkpoints()] == [4, 8, 10]
    run.prune_checkpoints(1)
    run.prune_checkpoints(1)
    assert [step_of(path) for path in run.checkpoints()] == [10]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        Exception("SafetensorError: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_with_what_the_run_can_go_on_from(run, error):
    def write(step):
        with run.writing_checkpoint(step):
            raise error

    with pytest.raises(DiskFull, match=r"checkpoint-1: the disk is full.* The run begins anew once there is room"):
        write(1)
    checkpoint(run, 1)
    with pytest.raises(DiskFull, match=r"update 2 was not written\. The run goes on from checkpoint-1 once there is"):
        write(2)
    assert [path.name for path in run.checkpoints_folder.iterdir()] == ["checkpoint-1"]


def test_a_disk_that_is_full_is_noticed_when_a_library_does_not_say_so(run, monkeypatch):
    def write():
        with run.writing_checkpoint(1):
            raise RuntimeError("PytorchStreamWriter failed writing file data/2: file write failed")

    with pytest.raises(RuntimeError):
        write()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with pytest.raises(DiskFull):
        write()


def test_what_kills_have_left_is_swept_away_when_the_run_is_taken_up(tmp_path, run):
    checkpoint(run, 1)
    for other in (f".{run.folder.name}.77.removed", ".csr_only-0123456789ab.77.removed"):
        (tmp_path / other).mkdir()
    for left in ("checkpoints/.writing/checkpoint-2", ".policy-00002.part", "checkpoints/.checkpoint-0.77.removed"):
        (run.folder / left).mkdir(parents=True)
        (run.folder / left / "weights").write_text("half")
    (run.folder / "rollouts").mkdir()
    (run.folder / "rollouts" / ".step-00002.jsonl.part").touch()
    with run.alone():
        assert sorted(str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()) == [
            "checkpoints/checkpoint-1/weights",
            "config.json",
        ]
        assert [path.name for path in tmp_path.glob("*.removed")] == [".csr_only-0123456789ab.77.removed"]


def test_a_second_process_is_kept_out_and_sweeps_nothing(run):
    with run.alone():
        run.writing_folder.mkdir(parents=True)
        with pytest.raises(FinememError, match="another process is training this very configuration"), run.alone():
            pass
        assert run.writing_folder.is_dir()


def test_forgetting_drops_what_came_after_a_step(run):
    for step in (1, 2, 3):
        run.append_metrics({"step": step})
        run.rollouts_folder.mkdir(exist_ok=True)
        (run.rollouts_folder / f"step-{step:05d}.jsonl").touch()
        checkpoint(run, step)
    run.forget_after(2)
    assert run.metrics() == [{"step": 1}, {"step": 2}]
    assert sorted(path.name for path in run.rollouts_folder.iterdir()) == ["step-00001.jsonl", "step-00002.jsonl"]
    assert sorted(path.name for path in run.checkpoints_folder.iterdir()) == ["checkpoint-1", "checkpoint-2"]


def test_a_run_that_has_nothing_forgets_nothing(run):
    run.forget_after(0)
    assert run.metrics() == []


def test_a_last_line_cut_off_by_a_kill_is_left_out_and_gone_once_the_run_goes_on(run):
    run.append_metrics({"step": 1, "loss": 0.5})
    with run.metrics_file.open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert run.metrics() == [{"step": 1, "loss": 0.5}]
    run.forget_after(1)
    run.append_metrics({"step": 2, "loss": 0.25})
    assert [row["step"] for row in run.metrics()] == [1, 2]


def test_json_is_written_beside_and_moved(tmp_path):
    write_json(tmp_path / "deep" / "value.json", {"a": "ü"})
    assert json.loads((tmp_path / "deep" / "value.json").read_text(encoding="utf-8")) == {"a": "ü"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["value.json"]
