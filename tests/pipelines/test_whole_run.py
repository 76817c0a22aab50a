"""`kedro run` from raw streams to the report, with a policy of random weights."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path

import pytest

from finemem_pipeline.config import DEFAULT_MANAGERS, MANAGERS

KEPT = {
    "data/01_raw/planted/spec.json",
    *(f"data/01_raw/planted/{split}.jsonl.gz" for split in ("train", "dev", "test")),
    "data/02_intermediate/inputs.json",
    *(f"data/03_primary/{split}.jsonl.gz" for split in ("train", "dev", "test")),
    "data/04_feature/train.jsonl.gz",
    "data/04_feature/questions.json",
    "data/06_models/warm_start.json",
    "data/06_models/training.json",
    "data/07_model_output/evaluation.jsonl",
    "data/07_model_output/rollouts.jsonl",
    "data/08_reporting/data_checks.json",
    "data/08_reporting/data_docs/index.html",
    "data/08_reporting/evaluation.json",
    "data/08_reporting/report.html",
    "data/08_reporting/report.json",
}


def test_every_command_ended_well(ran):
    assert {name: (outcome.code, outcome.error) for name, outcome in ran.outcomes.items()} == dict.fromkeys(
        ran.outcomes, (0, "None")
    )


def test_a_run_leaves_all_its_artefacts_and_nothing_half_written(ran):
    files = ran.outcomes["first"].files
    assert KEPT - files.keys() == set()
    assert [path for path in files if path.endswith(".part")] == []


def folder_of(ran, kind: str) -> str:
    """The folder of the first run of that kind."""
    [found] = {path.split("/")[2] for path in ran.outcomes["again"].files if path.startswith(f"data/06_models/{kind}-")}
    return f"data/06_models/{found}"


def test_training_leaves_weights_metrics_and_rollouts(ran):
    folder = folder_of(ran, "fine_mem")
    files = ran.outcomes["first"].files
    assert f"{folder}/policy-00002/adapter_model.safetensors" in files
    assert [row["step"] for row in ran.lines(f"{folder}/metrics.jsonl")] == [1, 2]
    for update in (1, 2):
        rows = ran.lines(f"{folder}/rollouts/step-{update:05d}.jsonl")
        assert len(rows) == 2 * 2  # streams × siblings
        assert all(len(row["advantages"]) == len(row["rollout"]["steps"]) for row in rows)
    warm = folder_of(ran, "warm_start")
    assert {f"{warm}/{made}/adapter_model.safetensors" for made in ("warm", "imitation")} <= files.keys()


def test_a_run_prints_the_table_and_where_the_report_and_its_record_are(ran):
    output = ran.outcomes["first"].output
    assert all(f" {name} " in output for name in DEFAULT_MANAGERS)
    assert "data/08_reporting/report.html" in output
    assert "mlflow ui --backend-store-uri sqlite:///" in " ".join(output.split())


def test_a_run_again_trains_nothing_and_writes_no_question_again(ran):
    first, again = ran.outcomes["first"].files, ran.outcomes["again"].files
    models = {path for path in again if path.startswith("data/06_models/") and path.count("/") > 2}
    changed = {path for path in models if first.get(path) != again[path]}
    assert {path.rpartition("/")[2] for path in changed} <= {"config.json"}  # written anew with the same content
    assert first["data/01_raw/planted/train.jsonl.gz"] == again["data/01_raw/planted/train.jsonl.gz"]
    assert first["data/04_feature/questions.sqlite"] == again["data/04_feature/questions.sqlite"]
    assert "reused" in ran.outcomes["again"].output


def test_evaluate_alone_reads_what_the_others_left(ran):
    again, evaluated = ran.outcomes["again"].files, ran.outcomes["evaluated"].files
    changed = {path for path in evaluated if again.get(path) != evaluated[path]}
    changed -= {"data/02_intermediate/held_out.json"}
    assert {path.split("/")[1] for path in changed} <= {"07_model_output", "08_reporting"}
    output = ran.outcomes["evaluated"].output
    assert "raw_chunks" in output.replace(" ", "_")
    assert "sentences" not in output


def test_real_streams_are_named_by_source_and_path(ran):
    record = ran.json("data/02_intermediate/inputs.json")  # of the last run: one file
    assert record["files"][0]["path"] == "all.jsonl.gz"
    output = ran.outcomes["realbench"].output
    assert "squad" in output
    assert "mquake" in output


def test_all_weights_can_be_trained_and_played(ran):
    files = ran.outcomes["realbench"].files.keys() - ran.outcomes["evaluated"].files.keys()
    assert any(path.endswith("policy-00001/model.safetensors") for path in files)
    assert any(path.endswith("warm/model.safetensors") for path in files)


def test_an_imitation_that_was_not_asked_for_is_left_out_and_said_so(ran):
    assert "imitation" in ran.outcomes["realbench"].output
    assert not any("/imitation/model" in path for path in ran.outcomes["realbench"].files)


def test_evaluation_can_have_streams_of_its_own(ran):
    rows = ran.lines("data/07_model_output/rollouts.jsonl")
    streams = {json.loads(line)["instance_id"] for line in (ran.folder / "more.jsonl").read_text("utf-8").splitlines()}
    assert {row["rollout"]["episode_id"] for row in rows} == streams
    assert {row["manager"] for row in rows} == {"raw_chunks", "no_memory"}


def test_every_manager_can_be_compared_and_what_was_played_is_kept(ran):
    output = ran.outcomes["compared"].output.replace(" ", "_")
    assert all(name in output for name in set(MANAGERS) - set(DEFAULT_MANAGERS))
    new = ran.outcomes["compared"].files.keys() - ran.outcomes["evaluated"].files.keys()
    kept = {Path(path).name.partition("-")[0] for path in new if path.startswith("data/07_model_output/played/")}
    assert kept == set(MANAGERS) - set(DEFAULT_MANAGERS)


def test_what_was_played_is_read_back(ran):
    compared, again = ran.outcomes["compared"].files, ran.outcomes["compared_again"].files
    played = {path: changed for path, changed in compared.items() if path.startswith("data/07_model_output/played/")}
    assert {
        path: changed for path, changed in again.items() if path.startswith("data/07_model_output/played/")
    } == played


def test_a_single_file_is_divided_without_a_stream_in_two_sets(ran):
    sets = {}
    for split in ("train", "dev", "test"):
        with gzip.open(ran.folder / f"data/03_primary/{split}.jsonl.gz", "rt") as stream:
            sets[split] = {json.loads(line)["instance_id"] for line in stream}
    assert {split: len(ids) for split, ids in sets.items()} == {"train": 10, "dev": 1, "test": 1}
    assert len(set.union(*sets.values())) == 12


@pytest.fixture(scope="module")
def store(ran):
    with sqlite3.connect(f"file:{ran.folder / 'mlflow.db'}?mode=ro", uri=True) as connection:
        yield connection


def test_every_command_is_a_finished_run_in_mlflow(ran, store):
    runs = store.execute("SELECT name, status FROM runs ORDER BY start_time").fetchall()
    assert [status for _, status in runs] == ["FINISHED"] * len(ran.outcomes)
    assert runs[0][0] == "default-fine_mem-0"
    assert runs[2][0] == "evaluate-fine_mem-0"


def test_mlflow_has_the_parameters_the_curves_and_the_results_of_a_run(store):
    for place in (0, 1):  # a run that reuses a training tells its curve as well
        [(run,)] = store.execute("SELECT run_uuid FROM runs ORDER BY start_time LIMIT 1 OFFSET ?", (place,))
        params = dict(store.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run,)))
        assert params["training.group_size"] == "2"
        assert params["rewards.fine_mem.chunk.weight"] == "0.5"
        curve = store.execute("SELECT step FROM metrics WHERE run_uuid = ? AND key = 'train/reward/total'", (run,))
        assert sorted(step for (step,) in curve) == [1, 2]
        keys = {key for (key,) in store.execute("SELECT DISTINCT key FROM metrics WHERE run_uuid = ?", (run,))}
        assert {"train/reward/format", "train/completion/length", "train/grad_norm"} <= keys
        assert {f"eval/{name}/planted/score" for name in DEFAULT_MANAGERS} <= keys


def test_mlflow_has_the_report_and_the_rollouts_as_artefacts(ran):
    names = {path.name for path in (ran.folder / "mlartifacts").rglob("*") if path.is_file()}
    assert {"report.html", "step-00001.jsonl", "parameters.yml", "evaluation.json", "metrics.jsonl"} <= names
