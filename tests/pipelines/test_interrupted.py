"""A run that is killed or terminated, and the one after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finemem_pipeline.benchmarks.realbench import read_episodes
from finemem_pipeline.records import decode_rollout
from finemem_pipeline.stopping import RESUME_EXIT_CODE

pytestmark = pytest.mark.slow

STEPS = 40


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--env=test", f"--params=training.steps={STEPS}"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended_by(number: signal.Signals, folder: Path, updates: int) -> tuple[int, str]:
    """Starts a run and signals it once the metrics of so many updates are on disk: its exit code and output."""
    process = start(folder)
    try:
        for _ in range(6000):
            logs = list(folder.glob("data/06_models/fine_mem-*/metrics.jsonl"))
            if logs and logs[0].read_text().count("\n") >= updates:
                break
            assert process.poll() is None, process.communicate()[0][-4000:]
            time.sleep(0.05)
        else:
            pytest.fail(f"{updates} updates were not done in five minutes")
        process.send_signal(number)
        output, _ = process.communicate(timeout=200)
        return process.returncode, output
    finally:
        process.kill()


def test_a_run_killed_twice_finishes_when_it_is_run_again_as_if_nothing_had_happened(fresh_project):
    folder = fresh_project.folder
    assert ended_by(signal.SIGKILL, folder, 3)[0] == -signal.SIGKILL
    assert ended_by(signal.SIGKILL, folder, 9)[0] == -signal.SIGKILL
    [training] = folder.glob("data/06_models/fine_mem-*")
    survived = {path: path.read_bytes() for path in training.glob("rollouts/step-0000[1-5].jsonl")}
    last = start(folder)
    output, _ = last.communicate(timeout=500)
    assert last.returncode == 0, output[-4000:]

    assert [row["step"] for row in fresh_project.lines(training / "metrics.jsonl")] == list(range(1, STEPS + 1))
    rollouts = sorted(training.glob("rollouts/step-*.jsonl"))
    assert len(rollouts) == STEPS
    for path in rollouts:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert len([decode_rollout(row["rollout"]) for row in rows]) == 4
    assert len(survived) == 5
    assert all(path.read_bytes() == content for path, content in survived.items())  # what was done is not done again
    assert (training / f"policy-{STEPS:05d}" / "adapter_model.safetensors").is_file()
    for split, count in {"train": 6, "dev": 2, "test": 3}.items():
        assert len(read_episodes(folder / f"data/03_primary/{split}.jsonl.gz")) == count
    assert (folder / "data/08_reporting/report.html").is_file()


def test_a_terminated_run_ends_in_order_with_the_resume_code_and_goes_on_where_it_was(fresh_project):
    from mlflow import MlflowClient

    folder = fresh_project.folder
    code, output = ended_by(signal.SIGTERM, folder, 5)
    assert code == RESUME_EXIT_CODE
    assert "Stopped by SIGTERM. The same command goes on from what is finished." in output
    assert "Traceback" not in output
    [training] = folder.glob("data/06_models/fine_mem-*")
    done = len(fresh_project.lines(training / "metrics.jsonl"))
    assert max(int(path.name.rpartition("-")[2]) for path in training.glob("checkpoints/checkpoint-*")) == done
    store = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    [run] = store.search_runs([store.get_experiment_by_name("finemem").experiment_id])
    assert run.info.status == "KILLED"
    assert len(store.get_metric_history(run.info.run_id, "train/loss")) == done

    again = ended_by(signal.SIGTERM, folder, done + 1)
    assert again[0] == RESUME_EXIT_CODE
    assert f"fine_mem: {done - 1} of {STEPS}" not in again[1]  # the last one was not made again
