"""Kills a training run with SIGKILL again and again, and compares its end with one that nobody touched.

    python benchmarks/kill_test.py [--kills 10] [--seed 0]

A project of its own in a scratch folder: a small model of random weights, planted streams, warm start and reinforcement
learning by `kedro run --pipelines=train`. The reference runs once from start to end. Then a copy of the project is
struck at points drawn from the seed: while a checkpoint is being written, in the middle of an update, while the process
starts; some in the warm start, most in reinforcement learning. After every kill the same command is given again.

One line per kill: where it struck, and the checkpoint the next run goes on from, which must be that of the reference
bit by bit. In the end weights, optimiser, metrics without timings and rollouts are compared. The last line is
`identical`, or what differs; then it exits with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
WARM_UPDATES, IMITATED = 60, 72
LEAST_KILLS, MOST_KILLS = 6, 24
SPACING = 3  # updates of reinforcement learning for each kill
STRIKES = ("writing", "writing", "update")  # drawn from, for every kill but those that strike a process that starts
PATIENCE = 900.0  # seconds until a run must have come somewhere
TIMINGS = ("seconds/", "tokens_per_second")

PARAMETERS = {
    "data": {
        "planted": {
            **{"train": 32, "dev": 4, "test": 1, "chunks": [2, 3], "facts_per_chunk": 1},
            **{"distractors_per_chunk": 1, "corrections": 0.0, "two_step": 0.0},
        }
    },
    "recipes": {
        "victim": {
            **{"model": "data/06_models/base/tiny", "lora": None, "precision": "fp32", "micro_batch": 8},
            **{"learning_rate": 1e-3, "warm_start_learning_rate": 1e-2},
            **{"max_completion_tokens": 40, "memory_tokens": 64},
        }
    },
    "training": {
        **{"recipe": "victim", "group_size": 4, "episodes_per_step": 2},
        **{"checkpoint_every": 2, "keep_checkpoints": 2},
        "warm_start": {"steps": WARM_UPDATES, "batch": 8, "imitation_steps": IMITATED, "check_every": 12},
    },
}


class Different(Exception):
    """The run that was killed is not the run that was left alone."""


class Unexpected(Exception):
    """A run did not do what it should while it was watched."""


@dataclass(frozen=True)
class Strike:
    """Where to kill."""

    kind: str  # writing, update or starting
    phase: str  # warm_start or fine_mem
    after: int  # strike once so many updates of the phase are done
    delay: float = 0.0  # seconds later
    files: int = 0  # of a checkpoint that is being written, so many are there


def make_project(folder: Path, steps: int) -> None:
    """The parts of the checkout that a run of so many updates needs, with a small model and small parameters."""
    from finemem_pipeline.training.random_model import build

    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local", "test"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "src").mkdir()
    (folder / "conf" / "test").mkdir()
    (folder / "conf" / "test" / "mlflow.yml").write_text("enabled: false\n", encoding="utf-8")
    set_parameters(folder, steps=steps)
    build(folder / "data" / "06_models" / "base" / "tiny", dropout=0.1)


def set_parameters(project: Path, **training: Any) -> None:
    """Ours, with changes of the section `training`."""
    changed = {**PARAMETERS, "training": {**PARAMETERS["training"], **training}}
    (project / "conf" / "test" / "parameters.yml").write_text(yaml.safe_dump(changed), encoding="utf-8")


def start(folder: Path, pipelines: str) -> subprocess.Popen[bytes]:
    """`kedro run` in the project; what it prints is added to output.txt."""
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "kedro", "run", "--env=test", f"--pipelines={pipelines}"],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def finish(folder: Path, pipelines: str) -> float:
    """Runs to the end; the seconds it took."""
    begin = time.monotonic()
    if start(folder, pipelines).wait() != 0:
        raise Unexpected("a run failed:\n" + (folder / "output.txt").read_text(errors="replace")[-3000:])
    return time.monotonic() - begin


def run_folder(project: Path, phase: str) -> Path | None:
    """The folder of the phase's run, once it is there."""
    return next(iter((project / "data" / "06_models").glob(f"{phase}-*")), None)


def steps(project: Path, phase: str) -> list[int]:
    """Of the checkpoints that are whole."""
    folder = run_folder(project, phase)
    found = folder.glob("checkpoints/checkpoint-*") if folder is not None else ()
    return sorted(int(path.name.rpartition("-")[2]) for path in found)


def updates(project: Path, phase: str) -> int:
    """How many are known to be done."""
    folder = run_folder(project, phase)
    if folder is None:
        return 0
    metrics = folder / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else max(steps(project, phase), default=0)


def half_written(project: Path, phase: str) -> list[Path]:
    """The folder of a checkpoint that is being written, and the files in it; nothing where none is."""
    folder = run_folder(project, phase)
    folders = list(folder.glob("checkpoints/.writing/checkpoint-*")) if folder is not None else []
    return [*folders, *(path for part in folders for path in part.glob("*"))]


def strike(project: Path, plan: Strike) -> str:
    """Starts the run, kills it where the plan says, and tells where that was."""
    process = start(project, "train")
    try:
        if plan.kind == "starting":
            time.sleep(plan.delay)
            expect(process.poll() is None, "a run ended before it could be killed")
            return f"{plan.delay:.1f} s after its start"
        begun = updates(project, plan.phase)
        wait_for(process, lambda: updates(project, plan.phase) >= max(plan.after, begun + 1), pause=0.02)
        if plan.kind == "update":
            time.sleep(plan.delay)
            expect(process.poll() is None, "a run ended before it could be killed")
            return f"in update {updates(project, plan.phase) + 1}"
        return caught_writing(process, project, plan)
    finally:
        process.kill()
        process.wait()


def caught_writing(process: subprocess.Popen[bytes], project: Path, plan: Strike) -> str:
    """Holds the process while a checkpoint is being written, or tries with the next one."""
    while True:
        wait_for(process, lambda: len(half_written(project, plan.phase)) > plan.files, pause=0.0005)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        found = half_written(project, plan.phase)
        if found:
            folder, *files = found
            return f"while {folder.name} was being written, {len(files)} of its files there"
        process.send_signal(signal.SIGCONT)


def wait_for(process: subprocess.Popen[bytes], there: Callable[[], bool], pause: float) -> None:
    """Returns once it is there."""
    end = time.monotonic() + PATIENCE
    while not there():
        expect(process.poll() is None, "a run ended before it could be killed")
        expect(time.monotonic() < end, f"a run did not come where it should be killed in {PATIENCE:.0f} s")
        time.sleep(pause)


def expect(held: bool, what: str) -> None:
    if not held:
        raise Unexpected(what)


def updates_for(kills: int) -> int:
    """Of reinforcement learning: more than can be done before the last kill."""
    return SPACING * (kills - in_warm_start(kills)) + 4


def in_warm_start(kills: int) -> int:
    """How many of the kills strike there."""
    return kills // 3


def plans(kills: int, seed: int) -> list[Strike]:
    """Points to strike at, in the order in which a run comes by: one in every stretch of so many updates."""
    draw = random.Random(seed)
    early = in_warm_start(kills)
    found = []
    for phase, count, stretch in (("warm_start", early, (IMITATED - 8) // early), ("fine_mem", kills - early, SPACING)):
        kinds = ["writing", "update", *(draw.choice(STRIKES) for _ in range(count - 2))]
        draw.shuffle(kinds)
        for place, kind in enumerate(kinds):
            after = 1 + stretch * place + draw.randrange(stretch)
            found.append(Strike(kind, phase, after, draw.uniform(0.0, 1.5), draw.randint(0, 9)))
    found[draw.randrange(early, kills)] = Strike("starting", "fine_mem", 0, draw.uniform(2.0, 12.0))
    return found


def tensors(value: Any) -> Iterator[bytes]:
    """Everything in nested containers, tensors by their bits."""
    import torch

    if isinstance(value, torch.Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode() + value.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield str(key).encode()
            yield from tensors(value[key])
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors(inner)
    else:
        yield repr(value).encode()


def digest_of(folder: Path) -> str:
    """Of the weights in a folder, and of optimiser, schedule, random numbers and baselines where there are any."""
    import torch
    from safetensors.torch import load_file

    read = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        elif path.name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            content = torch.load(path, weights_only=False)
        elif path.name == "baseline.json":
            content = json.loads(path.read_text(encoding="utf-8"))
        else:
            continue
        for piece in tensors(content):
            read.update(piece)
    return read.hexdigest()[:16]


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The rows without timings."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith(TIMINGS)} for row in rows]


def compare_checkpoint(reference: Path, project: Path, phase: str) -> int:
    """The step that the next run goes on from; its checkpoint must be that of the reference."""
    newest = max(steps(project, phase), default=0)
    if newest:
        name = f"checkpoints/checkpoint-{newest}"
        ours, theirs = (run_folder(each, phase) for each in (project, reference))
        assert ours is not None
        assert theirs is not None
        if digest_of(ours / name) != digest_of(theirs / name):
            raise Different(f"{phase}: checkpoint-{newest} is not that of the reference")
    return newest


def compare(reference: Path, project: Path) -> None:
    """Prints digests. Raises Different."""
    for phase, results in (("warm_start", ("warm", "imitation")), ("fine_mem", ("policy-*",))):
        ours, theirs = (run_folder(each, phase) for each in (project, reference))
        assert ours is not None
        assert theirs is not None
        names = [str(found.relative_to(theirs)) for pattern in results for found in theirs.glob(pattern)]
        for name in (*names, f"checkpoints/checkpoint-{max(steps(reference, phase))}"):
            killed, alone = digest_of(ours / name), digest_of(theirs / name)
            print(f"{phase}/{name}: {alone} left alone, {killed} killed")
            if killed != alone:
                raise Different(f"{phase}/{name} differs")
    rows, found_rows = metrics_of(theirs), metrics_of(ours)
    for row, found_row in zip_longest(rows, found_rows, fillvalue={}):
        pairs = {name: (row.get(name), found_row.get(name)) for name in {*row, *found_row}}
        differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if differing:
            raise Different(f"the metrics of update {pairs['step'][0]} differ (left alone, killed): {differing}")
    played = {path.name: path.read_bytes() for path in theirs.glob("rollouts/*.jsonl")}
    if played != {path.name: path.read_bytes() for path in ours.glob("rollouts/*.jsonl")}:
        raise Different("the rollouts differ")
    moved = sum(row["grad_norm"] > 0 for row in rows)
    print(f"metrics of {len(rows)} updates and {len(played)} files of rollouts are the same; {moved} moved the weights")
    expect(moved > len(rows) / 2, "most updates moved nothing: there was little to be compared")


def trial(scratch: Path, kills: int, seed: int) -> None:
    """Prints what happens. Raises Different or Unexpected."""
    reference, project = scratch / "reference", scratch / "project"
    make_project(project, updates_for(kills))
    finish(project, "data,qa_generation")
    shutil.copytree(project, reference)
    set_parameters(reference, steps=updates_for(kills), keep_checkpoints=1000)
    print(f"left alone: {finish(reference, 'train'):.0f} s", flush=True)
    for number, plan in enumerate(plans(kills, seed), 1):
        begin = time.monotonic()
        where = strike(project, plan)
        name = "warm start" if plan.phase == "warm_start" else "reinforcement learning"
        step = compare_checkpoint(reference, project, plan.phase)
        goes_on = f"goes on from checkpoint-{step}, that of the reference" if step else "begins anew"
        print(f"kill {number}: {name}, {where}; {goes_on} ({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"to the end: {finish(project, 'train'):.0f} s", flush=True)
    compare(reference, project)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kills a training run again and again, and compares its end.")
    parser.add_argument("--kills", type=int, default=10, help=f"{LEAST_KILLS} to {MOST_KILLS}")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            trial(Path(scratch), min(MOST_KILLS, max(LEAST_KILLS, arguments.kills)), arguments.seed)
        except (Different, Unexpected) as error:
            print(f"NOT identical: {error}" if isinstance(error, Different) else f"stopped: {error}")
            return 1
    print("identical")
    return 0


if __name__ == "__main__":
    sys.exit(main())
