"""`kedro run` by several processes: the same results as by one, whatever stops it in between."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from finemem_pipeline.stopping import RESUME_EXIT_CODE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the extra `distributed`"),
]

STEPS = 12
RUN = ["-m", "kedro", "run", "--env=test"]


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=1500)
        return process.returncode, output
    finally:
        process.kill()


def run_of(folder: Path, processes: int) -> Path | None:
    """The training of so many processes."""
    for config in folder.glob("data/06_models/fine_mem-*/config.json"):
        if json.loads(config.read_text()).get("together", {"processes": 1})["processes"] == processes:
            return config.parent
    return None


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def ended_by(number: signal.Signals, process: subprocess.Popen[str], folder: Path, updates: int) -> tuple[int, str]:
    """Signals the command once so many updates of two processes are on disk: its exit code and output."""
    for _ in range(24000):
        run = run_of(folder, 2)
        if run is not None and (run / "metrics.jsonl").is_file() and len(metrics(run)) >= updates:
            break
        assert process.poll() is None, process.communicate()[0][-4000:]
        time.sleep(0.05)
    process.send_signal(number)
    return finished(process)


def ranks(folder: Path) -> list[int]:
    """Processes that a launcher has started in the folder, and that are still there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve() and b"RANK=" in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_two_processes_stopped_killed_and_on_two_machines_leave_what_one_leaves(fresh_project):
    from mlflow import MlflowClient

    folder = fresh_project.folder
    train = [*RUN, "--pipelines=train"]
    assert finished(start(folder, *RUN, "--pipelines=data,qa_generation"))[0] == 0
    alone = f"--params=training.steps={STEPS}"
    assert finished(start(folder, *train, alone))[0] == 0
    both = f"{alone},training.processes=2"

    code, output = ended_by(signal.SIGTERM, start(folder, *train, both), folder, 2)
    assert code == RESUME_EXIT_CODE, output[-4000:]
    assert output.count("Stopped by SIGTERM") == 1
    run = run_of(folder, 2)
    assert run is not None
    done = len(metrics(run))
    assert 2 <= done < STEPS
    assert (run / "checkpoints" / f"checkpoint-{done}").is_dir()

    code, _ = ended_by(signal.SIGKILL, start(folder, *train, both), folder, done + 2)
    assert code == -signal.SIGKILL
    for _ in range(600):
        if not ranks(folder):
            break
        time.sleep(0.1)
    assert not ranks(folder)  # who has lost the launcher ends too

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = [
        start(
            folder,
            *("-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1"),
            *("--master-addr=127.0.0.1", f"--master-port={port}", *train, "--runner=SequentialRunner", both),
        )
        for rank in (0, 1)
    ]
    (first, told), (second, silent) = [finished(machine) for machine in machines]
    assert (first, second) == (0, 0), told[-4000:] + silent[-4000:]
    assert told.count("Completed node: train.train_policy") == 1
    assert "train_policy" not in silent

    single = run_of(folder, 1)
    assert single is not None
    assert len(metrics(run)) == STEPS
    for path in sorted(single.glob("rollouts/*")):
        assert (run / "rollouts" / path.name).read_bytes() == path.read_bytes()
    for left, right in zip(metrics(single), metrics(run), strict=True):
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-5, abs=1e-7)
        assert right["reader/questions"] == left["reader/questions"]
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    [experiment] = [each for each in client.search_experiments() if each.name == "finemem"]
    states = [each.info.status for each in client.search_runs([experiment.experiment_id], order_by=["start_time"])]
    assert states[:3] == ["FINISHED", "FINISHED", "KILLED"]
    assert len(states) == 5  # one of every command, not of every process
    assert states[-1] == "FINISHED"


def test_a_batch_that_cannot_be_shared_out_is_told_before_anything_is_started(fresh_project):
    code, output = finished(start(fresh_project.folder, *RUN, "--params=training.processes=3"))
    assert code == 1
    assert "2 streams an update cannot be shared by training.processes: 3" in output
    assert "Traceback" not in output
