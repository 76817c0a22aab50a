"""What one machine has written another one reads: projects that share the place of their data and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finemem_pipeline.store.places import place

TIMINGS = ("seconds", "tokens_per_second")


pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def kept(machines, s3):
    """The place that the machines share; `s3` gives this process the credentials."""
    return place(machines.place)


def run_folder(folder: Path) -> Path:
    [found] = folder.glob("data/06_models/fine_mem-*")
    return found


def without_timings(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if not name.startswith(TIMINGS)} for row in rows]


def lines(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


def test_every_command_ends_well(machines):
    for project in (machines.first, machines.second, machines.alone):
        for name, outcome in project.outcomes.items():
            assert (outcome.code, outcome.error) == (0, "None"), (name, outcome.output[-3000:])


def test_a_run_that_went_on_elsewhere_is_the_run_that_never_moved(machines, kept):
    stayed = run_folder(machines.alone.folder)
    assert run_folder(machines.first.folder).name == stayed.name
    for file in (
        "policy-00004/adapter_model.safetensors",
        "checkpoints/checkpoint-4/optimizer.pt",
        "checkpoints/checkpoint-4/rng_state.pth",
        "rollouts/step-00001.jsonl",  # played by the first machine
        "rollouts/step-00004.jsonl",
    ):
        assert kept.read(f"06_models/{stayed.name}/{file}") == (stayed / file).read_bytes(), file
    told = without_timings(lines(kept.read(f"06_models/{stayed.name}/metrics.jsonl")))
    assert [row["step"] for row in told] == [1, 2, 3, 4]
    assert told == without_timings(lines((stayed / "metrics.jsonl").read_bytes()))


def test_what_was_trained_on_one_machine_is_evaluated_on_another_as_if_it_had_been_here(machines, kept):
    results = lines(kept.read("07_model_output/evaluation.jsonl"))
    alone = machines.alone.lines("data/07_model_output/evaluation.jsonl")
    for row in (*results, *alone):
        for spent in (row["write"], row["read"]):
            spent.pop("seconds")
    assert results == alone
    assert {row["manager"] for row in results} == {"trained", "warm_started", "imitation", "untrained", "raw_chunks"}


def test_what_was_played_and_answered_on_one_disk_is_not_played_on_the_next(machines, kept):
    usage = json.loads(kept.read("07_model_output/evaluation_notes.json"))["usage"]
    assert (usage["calls"], usage["questions"]) == (0, 0)


def test_a_place_keeps_what_a_data_folder_does(machines, kept):
    def shape(paths) -> set[str]:
        """Without digests and time stamps."""
        plain = {path for path in paths if not path.startswith("06_models/base") and "/." not in path}
        return {re.sub(r"-[0-9a-f]{12}|\d{8}T.*", "", path) for path in plain}

    data = machines.alone.folder / "data"
    here = shape(path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    there = shape(kept.files(""))
    assert {path for path in here - there if "/checkpoints/" not in path} == {
        "06_models/fine_mem/paid.jsonl",
        "07_model_output/answers.sqlite",  # both are in the checkpoints
    }
    checkpoints = {path.split("/")[3] for path in there if path.startswith("06_models/fine_mem/checkpoints")}
    assert checkpoints == {"checkpoint-3", "checkpoint-4"}  # two are kept
    assert "08_reporting/data_docs/index.html" in there
    assert "08_reporting/report.html" in there


def test_a_machine_holds_no_data_set_of_its_own(machines):
    for project in (machines.first, machines.second):
        assert not (project.folder / "data" / "03_primary").exists()
        assert not (project.folder / "data" / "06_models" / "training.json").exists()


def test_no_record_names_a_path_of_one_machine(machines, kept):
    records = [key for key in kept.files("") if key.endswith(".json") and key.count("/") == 1]
    assert {"06_models/training.json", "08_reporting/report.json", "08_reporting/data_checks.json"} <= set(records)
    for key in records:
        assert str(machines.first.folder.parent) not in kept.read(key).decode(), key
    summary = json.loads(kept.read("06_models/training.json"))
    for name in ("folder", "adapter", "metrics_file", "rollouts_folder", "warm_start"):
        assert kept.files(summary[name].removeprefix("data/")), name


def test_input_that_lies_only_in_the_place_is_counted_and_digested(machines, kept):
    record = json.loads(kept.read("02_intermediate/inputs.json"))
    assert {file["name"]: file["rows"] for file in record["files"]} == {
        "train.jsonl": 4,
        "dev.jsonl.gz": 2,
        "test.jsonl": 2,
    }
    for file in record["files"]:
        content = kept.read(file["path"].removeprefix("data/"))
        assert file["path"] == f"data/01_raw/streams/{file['name']}"
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert len(gzip.decompress(kept.read("03_primary/dev.jsonl.gz")).splitlines()) == 2


def test_the_user_is_told_where_it_is(machines):
    said = "".join(machines.second.outcomes["evaluated"].output.split())
    assert f"Report:{machines.place}/08_reporting/report.html" in said
    assert f"Tableofrecord:{machines.place}/08_reporting/table.html" in said


STEPS = 12


def start(folder: Path, more: dict[str, str]) -> subprocess.Popen[str]:
    pipelines = "--pipelines=data,qa_generation,train"
    return subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--env=test", pipelines, f"--params=training.steps={STEPS}"],
        cwd=folder,
        env={**os.environ, **more, "OMP_NUM_THREADS": "1", "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_run_killed_on_one_machine_ends_on_another_as_if_nothing_had_happened(fresh_projects, s3, s3_environment):
    killed, heir, alone = fresh_projects
    for folder in (killed, heir):
        (folder / "conf" / "test" / "globals.yml").write_text(f"data: {s3}\n")
    first = start(killed, s3_environment)
    try:
        for _ in range(3000):
            if any("/checkpoint-5/" in key for key in place(s3).files("06_models")):
                break
            assert first.poll() is None, first.communicate()[0][-4000:]
            time.sleep(0.1)
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=60)
    finally:
        first.kill()
    for folder in (heir, alone):
        process = start(folder, s3_environment)
        output, _ = process.communicate(timeout=500)
        assert process.returncode == 0, output[-4000:]
    moved, stayed = run_folder(heir), run_folder(alone)
    assert not (run_folder(killed) / f"policy-{STEPS:05d}").exists()
    for file in (f"policy-{STEPS:05d}/adapter_model.safetensors", f"checkpoints/checkpoint-{STEPS}/optimizer.pt"):
        assert (moved / file).read_bytes() == (stayed / file).read_bytes(), file
    rows = [without_timings(lines((run / "metrics.jsonl").read_bytes())) for run in (moved, stayed)]
    assert rows[0] == rows[1]
    played = [sorted((run / "rollouts").iterdir()) for run in (moved, stayed)]
    assert [path.read_bytes() for path in played[0]] == [path.read_bytes() for path in played[1]]
