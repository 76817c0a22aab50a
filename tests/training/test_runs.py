from __future__ import annotations

import json

import pytest

from finemem_pipeline.training.runs import COMPLETE, Run, digest, step_of, write_json


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.open(tmp_path, "fine_mem", {"seed": 0})


def checkpoint(run: Run, step: int, complete: bool = True):
    folder = run.checkpoints_folder / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights").write_text("half")
    if complete:
        (folder / COMPLETE).touch()
    return folder


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


def test_the_newest_checkpoint_is_the_complete_one_with_the_highest_step(run):
    assert run.newest_checkpoint() is None
    checkpoint(run, 9)
    expected = checkpoint(run, 10)
    checkpoint(run, 11, complete=False)
    assert run.newest_checkpoint() == expected
    assert step_of(expected) == 10


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
