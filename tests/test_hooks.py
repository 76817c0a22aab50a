from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kedro.config import MissingConfigException
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner
from pydantic import BaseModel

from finemem_pipeline import progress
from finemem_pipeline.errors import FinememError
from finemem_pipeline.hooks import (
    ROLLOUTS_SHOWN,
    MlflowHook,
    command,
    flatten,
    plain,
    read_config,
    spread,
    tracking_uri,
)
from finemem_pipeline.reporting.alarms import ALARMS
from finemem_pipeline.stopping import RESUME_EXIT_CODE

PARAMS = {
    "training": {"reward": "fine_mem", "recipe": "smollm2_135m", "seed": 3, "steps": 2},
    "evaluation": {"managers": ["trained", "untrained"]},
}
RECORD = {
    "name": "planted",
    "sha256": "cd" * 32,
    "files": [
        {"name": "train.jsonl", "path": "data/01_raw/train.jsonl", "sha256": "ab" * 32, "rows": 12},
        {"name": "notes.txt", "path": "/elsewhere/notes.txt", "sha256": "ef" * 32},
    ],
}
TABLE = {
    "rows": [
        {
            "manager": "trained",
            "sources": {
                "planted": {"score": 0.5, "memory_tokens": 40.0},
                "squad": {"score": None, "memory_tokens": 9.0},
            },
            "mean": {"score": 0.5, "memory_tokens": 24.5},
        }
    ]
}


@pytest.fixture
def small_project(tmp_path):
    models = tmp_path / "data" / "06_models"
    (models / "adapter").mkdir(parents=True)
    (models / "adapter" / "adapter_config.json").write_text("{}")
    (models / "metrics.jsonl").write_text("{}\n")
    (models / "rollouts").mkdir()
    (models / "rollouts" / "step-00001.jsonl").write_text("{}\n")
    (tmp_path / "report.html").write_text("<p>report</p>")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("<p>docs</p>")
    return tmp_path


def context(folder, **mlflow):
    return SimpleNamespace(config_loader={"mlflow": mlflow}, params=PARAMS, project_path=folder)


def small_pipeline(train=None):
    def read(source):
        return RECORD, {"docs": "docs/index.html"}

    def learn(record):
        for step in (1, 2):
            progress.report(step, {"reward/total": 0.5 * step, "kl": float("nan")})
        if train is not None:
            train()
        return {
            "variant": "fine_mem",
            "recipe": "smollm2_135m",
            "seed": 3,
            "folder": "data/06_models",
            "adapter": "data/06_models/adapter",
            "metrics_file": "data/06_models/metrics.jsonl",
            "rollouts_folder": "data/06_models/rollouts",
            "steps": 2,
        }

    def judge(summary):
        return TABLE, "report.html"

    return Pipeline(
        [
            node(read, "source", ["input_record", "data_checks"], name="read"),
            node(learn, "input_record", "training_summary", name="learn"),
            node(
                lambda summary: (TABLE, "report.html"),
                "training_summary",
                ["evaluation_table", "report_path"],
                name="judge",
            ),
        ]
    )


def run_through(hook, context, pipeline, name="train"):
    """What a Kedro session does around a run."""
    manager = _create_hook_manager()
    manager.register(hook)
    catalog = DataCatalog({"source": MemoryDataset("planted")})
    run_params = {"pipeline_names": [name], "env": "base", "runtime_params": {"training": {"seed": 3}}}
    manager.hook.after_context_created(context=context)
    manager.hook.before_pipeline_run(run_params=run_params, pipeline=pipeline, catalog=catalog)
    try:
        result = SequentialRunner().run(pipeline, catalog, manager)
    except Exception as error:
        manager.hook.on_pipeline_error(error=error, run_params=run_params, pipeline=pipeline, catalog=catalog)
        raise
    manager.hook.after_pipeline_run(run_params=run_params, run_result=result, pipeline=pipeline, catalog=catalog)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """One migrated store for all tests: making one takes seconds."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    return SimpleNamespace(uri=uri, client=MlflowClient(uri))


def only_run(store, experiment):
    found = store.client.get_experiment_by_name(experiment)
    [run] = store.client.search_runs([found.experiment_id])
    return run


@pytest.fixture
def environment(monkeypatch, store):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)


@pytest.mark.usefixtures("environment")
def test_a_run_leaves_its_parameters_metrics_data_and_files(store, small_project):
    run_through(MlflowHook(), context(small_project, experiment="whole", tags={"team": "memory"}), small_pipeline())
    run = only_run(store, "whole")
    assert (run.info.run_name, run.info.status) == ("train-fine_mem-3", "FINISHED")
    assert run.data.params == {
        "training.reward": "fine_mem",
        "training.recipe": "smollm2_135m",
        "training.seed": "3",
        "training.steps": "2",
        "evaluation.managers": "trained, untrained",
    }
    tags = {key: run.data.tags[key] for key in ("variant", "recipe", "seed", "pipeline", "command", "team")}
    assert tags == {
        "variant": "fine_mem",
        "recipe": "smollm2_135m",
        "seed": "3",
        "pipeline": "train",
        "command": "kedro run --env=base --pipelines=train --params=training.seed=3",
        "team": "memory",
    }
    history = store.client.get_metric_history(run.info.run_id, "train/reward/total")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 1.0)]
    assert "train/kl" not in run.data.metrics
    assert {key: value for key, value in run.data.metrics.items() if key.startswith("eval/")} == {
        "eval/trained/planted/score": 0.5,
        "eval/trained/planted/memory_tokens": 40.0,
        "eval/trained/squad/memory_tokens": 9.0,
        "eval/trained/mean/score": 0.5,
        "eval/trained/mean/memory_tokens": 24.5,
    }
    [read] = run.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("planted", "cd" * 18)
    assert json.loads(read.dataset.source) == {
        "train.jsonl": "data/01_raw/train.jsonl",
        "notes.txt": "/elsewhere/notes.txt",
    }
    assert json.loads(read.dataset.profile) == {"train.jsonl": {"rows": 12}, "notes.txt": {"rows": None}}
    assert run.data.tags["data.train.jsonl"] == "ab" * 32
    files = {item.path for item in store.client.list_artifacts(run.info.run_id)}
    assert files == {"data_docs", "evaluation.json", "metrics.jsonl", "parameters.yml", "report.html", "rollouts"}


@pytest.mark.usefixtures("environment")
def test_the_adapter_is_a_model_of_the_experiment(store, small_project):
    run_through(MlflowHook(), context(small_project, experiment="model"), small_pipeline())
    run = only_run(store, "model")
    [model] = store.client.search_logged_models([run.info.experiment_id])
    assert (model.name, str(model.status), model.source_run_id) == ("smollm2_135m-fine_mem-3", "READY", run.info.run_id)
    assert model.params == {"variant": "fine_mem", "recipe": "smollm2_135m", "seed": "3", "steps": "2"}
    assert [item.path for item in store.client.list_logged_model_artifacts(model.model_id)] == ["adapter_config.json"]
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]


@pytest.mark.usefixtures("environment")
def test_a_collapse_is_a_tag_that_says_when_it_began_and_what_helps(store, small_project):
    def collapse():
        for step, gone in enumerate([0.0, 1.0, 1.0, 0.0, 1.0], 3):
            told = {"alarm/entropy_gone": gone, "alarm/all_dead": 0.0, "entropy": 0.001 * step}
            progress.report(step, told)
            progress.report(step, {f"second/{name}": value for name, value in told.items()} if step > 6 else {})

    run_through(MlflowHook(), context(small_project, experiment="collapse"), small_pipeline(collapse))
    run = only_run(store, "collapse")
    assert {key: value for key, value in run.data.tags.items() if key.startswith("alarm.")} == {
        "alarm.entropy_gone": "since update 4, 7: the entropy of the next token has fallen to 0.007 nats. "
        + ALARMS["entropy_gone"].advice,
        "alarm.second/entropy_gone": "since update 7: the entropy of the next token has fallen to 0.007 nats. "
        + ALARMS["entropy_gone"].advice,
    }
    history = store.client.get_metric_history(run.info.run_id, "train/alarm/entropy_gone")
    assert [(metric.step, metric.value) for metric in history] == [(3, 0.0), (4, 1.0), (5, 1.0), (6, 0.0), (7, 1.0)]


@pytest.mark.usefixtures("environment")
def test_a_failed_run_is_marked_and_says_why(store, small_project):
    def fail():
        raise RuntimeError("the reader stayed down")

    with pytest.raises(RuntimeError):
        run_through(MlflowHook(), context(small_project, experiment="failed"), small_pipeline(fail))
    run = only_run(store, "failed")
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "RuntimeError: the reader stayed down"
    assert run.data.metrics["train/reward/total"] == 1.0


@pytest.mark.usefixtures("environment")
def test_an_interrupted_run_in_a_living_process_is_killed_when_the_next_one_starts(store, small_project):
    def interrupt():
        raise KeyboardInterrupt

    hook = MlflowHook()
    with pytest.raises(KeyboardInterrupt):
        run_through(hook, context(small_project, experiment="interrupted"), small_pipeline(interrupt))
    assert only_run(store, "interrupted").info.status == "RUNNING"
    run_through(hook, context(small_project, enabled=False), small_pipeline())
    assert only_run(store, "interrupted").info.status == "KILLED"


def test_a_terminated_process_leaves_a_killed_run(store, small_project):
    script = f"""
import time
from pathlib import Path
from types import SimpleNamespace
from kedro.pipeline import Pipeline
from finemem_pipeline import progress
from finemem_pipeline.hooks import MlflowHook
from finemem_pipeline.stopping import orderly
hook = MlflowHook()
hook.after_context_created(SimpleNamespace(
    config_loader={{"mlflow": {{"experiment": "terminated"}}}},
    params={PARAMS!r},
    project_path=Path({str(small_project)!r}),
))
hook.before_pipeline_run({{"pipeline_names": ["train"]}}, Pipeline([]))
progress.report(1, {{"loss": 0.5}})
progress.report(2, {{"loss": 0.25}})
with orderly():  # as the session does
    print("training", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "MLFLOW_TRACKING_URI": store.uri}
    )
    assert process.stdout.readline() == b"training\n"
    process.terminate()
    assert process.wait(timeout=60) == RESUME_EXIT_CODE
    run = only_run(store, "terminated")
    assert run.info.status == "KILLED"
    assert run.data.metrics["train/loss"] == 0.25  # what was still in the queue went out too


def test_a_store_out_of_reach_costs_nothing_but_a_warning_and_keeps_the_rows(small_project, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run_through(MlflowHook(), context(small_project), small_pipeline())
    [kept] = (small_project / "data" / "06_models").glob("mlflow-unsent-*.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert rows[0]["kind"] == "run"
    assert [(row["step"], row["values"]) for row in rows if row["kind"] == "metrics"][:2] == [
        (1, {"train/reward/total": 0.5}),
        (2, {"train/reward/total": 1.0}),
    ]
    assert {"artifact", "model", "params", "tags", "text"} <= {row["kind"] for row in rows}
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("finemem_pipeline")]
    assert len(warnings) == 2
    assert warnings[0].startswith("MLflow's tracking store fails; the run goes on")
    assert str(kept) in warnings[1]


@pytest.mark.usefixtures("environment")
def test_a_run_that_only_evaluates_still_says_what_it_read(store, small_project):
    hook = MlflowHook()
    hook.after_context_created(context(small_project, experiment="evaluated"))
    hook.before_pipeline_run({"pipeline_names": ["evaluate"]}, Pipeline([]))
    hook.after_dataset_loaded("input_record", RECORD)
    hook.after_dataset_loaded("training_summary", {"variant": "csr_only", "recipe": "qwen3_4b", "seed": 7})
    hook.after_pipeline_run()
    run = only_run(store, "evaluated")
    assert run.info.run_name == "evaluate-csr_only-7"  # what was trained, whatever the parameters would train now
    assert (run.data.tags["variant"], run.data.tags["recipe"], run.data.tags["seed"]) == ("csr_only", "qwen3_4b", "7")
    assert [read.dataset.name for read in run.inputs.dataset_inputs] == ["planted"]


def test_a_locked_store_does_not_hold_up_the_start(small_project, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with contextlib.closing(sqlite3.connect(small_project / "mlflow.db")) as other:
        other.execute("CREATE TABLE held (n INTEGER)")
        other.execute("BEGIN EXCLUSIVE")
        hook = MlflowHook()
        hook.after_context_created(context(small_project, experiment="locked"))
        begin = time.monotonic()
        hook.before_pipeline_run({"pipeline_names": ["train"]}, Pipeline([]))
        assert time.monotonic() - begin < 30
        hook.after_pipeline_run()
    assert "database is locked" in caplog.text


def children_pipeline(fail_at=None):
    """Two variants, each trained and evaluated in its namespace, and a node about both."""

    def learn(name):
        def train_policy(source):
            progress.report(1, {"loss": float(len(name))})
            if name == fail_at:
                raise RuntimeError("out of memory")
            return {"variant": name}

        return node(train_policy, "source", f"{name}_seed_3__weights", name="train_policy", namespace=f"{name}_seed_3")

    def judge(name):
        return node(
            lambda weights: TABLE,
            f"{name}_seed_3__weights",
            f"{name}_seed_3__evaluation_table",
            name="play_held_out",
            namespace=f"{name}_seed_3",
        )

    tables = [f"{name}_seed_3__evaluation_table" for name in ("fine_mem", "csr_only")]
    return Pipeline(
        [
            *(make(name) for name in ("fine_mem", "csr_only") for make in (learn, judge)),
            node(lambda *tables: {"table": TABLE}, tables, "comparison", name="compare_variants"),
        ]
    )


def comparing(folder, experiment):
    """A context whose parameters ask for these two children."""
    compare = {"variants": ["fine_mem", "csr_only"], "seeds": [3], "steps": 1}
    found = context(folder, experiment=experiment)
    found.params = {**PARAMS, "compare": compare}
    return found


def runs(store, experiment):
    found = store.client.get_experiment_by_name(experiment)
    return {run.info.run_name: run for run in store.client.search_runs([found.experiment_id])}


@pytest.mark.usefixtures("environment")
def test_every_variant_and_seed_of_a_comparison_has_a_run_below_that_of_the_command(store, small_project):
    run_through(MlflowHook(), comparing(small_project, "compared"), children_pipeline(), "compare")
    found = runs(store, "compared")
    parent = found.pop("compare")
    assert set(found) == {"fine_mem-3", "csr_only-3"}
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *found.values())} == {"FINISHED"}
    assert {name: run.data.metrics["train/loss"] for name, run in found.items()} == {"fine_mem-3": 8, "csr_only-3": 8}
    assert "train/loss" not in parent.data.metrics
    assert found["csr_only-3"].data.metrics["eval/trained/mean/score"] == 0.5
    assert parent.data.metrics["eval/trained/mean/score"] == 0.5
    assert found["csr_only-3"].data.params["training.reward"] == "csr_only"
    assert (found["csr_only-3"].data.tags["variant"], parent.data.tags["variant"]) == ("csr_only", "fine_mem+csr_only")
    ended, judged = (run.info.end_time for run in (found["fine_mem-3"], parent))
    assert ended <= judged


@pytest.mark.usefixtures("environment")
def test_only_the_child_that_failed_is_marked_so(store, small_project):
    with pytest.raises(RuntimeError):
        run_through(
            MlflowHook(), comparing(small_project, "one failed"), children_pipeline(fail_at="fine_mem"), "compare"
        )
    found = runs(store, "one failed")
    statuses = {name: run.info.status for name, run in found.items()}
    assert statuses == {"compare": "FAILED", "csr_only-3": "KILLED", "fine_mem-3": "FAILED"}
    assert found["fine_mem-3"].data.tags["error"] == "RuntimeError: out of memory"
    assert "error" not in found["csr_only-3"].data.tags


def launched(folder, experiment):
    """The hook of a launcher whose children are trained in pods."""
    hook = MlflowHook()
    hook.after_context_created(comparing(folder, experiment))
    hook.before_pipeline_run({"pipeline_names": ["compare"], "runner": "KubernetesRunner"}, children_pipeline())
    return hook


@pytest.mark.usefixtures("environment")
def test_pods_log_into_the_run_of_their_child_which_ends_as_their_job_did(store, small_project, monkeypatch):
    launcher = launched(small_project, "in pods")
    ours, theirs = (launcher.address(f"{name}_seed_3") for name in ("fine_mem", "csr_only"))
    assert ours["MLFLOW_TRACKING_URI"] == store.uri
    with monkeypatch.context() as pod:
        pod.setenv("FINEMEM_GROUP", "fine_mem_seed_3")
        pod.setenv("MLFLOW_RUN_ID", ours["MLFLOW_RUN_ID"])
        part = children_pipeline().only_nodes_with_namespaces(["fine_mem_seed_3"])
        run_through(MlflowHook(), comparing(small_project, "in pods"), part, "compare")
    assert runs(store, "in pods")["fine_mem-3"].info.status == "RUNNING"  # a pod does not know whether it is the last
    launcher.record("fine_mem_seed_3", {"k8s.job": "finemem-compare-1"}, {"manifests/job.yml": "kind: Job"})
    launcher.ended("fine_mem_seed_3", "FINISHED")
    launcher.ended("csr_only_seed_3", "FAILED")
    launcher.after_pipeline_run()
    found = runs(store, "in pods")
    assert set(found) == {"compare", "fine_mem-3", "csr_only-3"}
    assert {name: run.info.status for name, run in found.items()} == {
        "compare": "FINISHED",
        "fine_mem-3": "FINISHED",
        "csr_only-3": "FAILED",
    }
    first = found["fine_mem-3"]
    assert (first.info.run_id, found["csr_only-3"].info.run_id) == (ours["MLFLOW_RUN_ID"], theirs["MLFLOW_RUN_ID"])
    assert (first.data.metrics["train/loss"], first.data.metrics["eval/trained/mean/score"]) == (8, 0.5)
    assert first.data.tags["k8s.job"] == "finemem-compare-1"
    assert [item.path for item in store.client.list_artifacts(first.info.run_id, "manifests")] == ["manifests/job.yml"]


@pytest.mark.usefixtures("environment")
def test_a_pod_that_fails_neither_ends_nor_renames_the_run(store, small_project, monkeypatch):
    launcher = launched(small_project, "failing pod")
    monkeypatch.setenv("FINEMEM_GROUP", "fine_mem_seed_3")
    monkeypatch.setenv("MLFLOW_RUN_ID", launcher.address("fine_mem_seed_3")["MLFLOW_RUN_ID"])
    with pytest.raises(RuntimeError):
        run_through(
            MlflowHook(), comparing(small_project, "failing pod"), children_pipeline(fail_at="fine_mem"), "compare"
        )
    found = runs(store, "failing pod")
    assert set(found) == {"compare", "fine_mem-3"}
    assert {run.info.status for run in found.values()} == {"RUNNING"}
    assert "error" not in found["fine_mem-3"].data.tags
    launcher.after_pipeline_run()


@pytest.mark.usefixtures("environment")
def test_a_launcher_that_is_started_again_goes_on_in_the_runs_of_the_one_that_was_killed(store, small_project):
    killed = launched(small_project, "again")
    before = [killed.address(f"{name}_seed_3") for name in ("fine_mem", "csr_only")]
    killed.ended("fine_mem_seed_3", "FINISHED")
    killed.leave()  # as kill -9 would: nothing is ended
    again = launched(small_project, "again")
    assert [again.address(f"{name}_seed_3") for name in ("fine_mem", "csr_only")] == before
    again.after_pipeline_run()
    assert len(runs(store, "again")) == 3
    assert {run.info.status for run in runs(store, "again").values()} == {"FINISHED"}
    another = launched(small_project, "again")  # the same command, once all is done: something new
    assert another.address("fine_mem_seed_3") != before[0]
    another.after_pipeline_run()


def test_without_a_store_every_run_of_a_comparison_keeps_its_rows(small_project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run_through(MlflowHook(), comparing(small_project, "unheard"), children_pipeline(), "compare")
    kept = sorted((small_project / "data" / "06_models").glob("mlflow-unsent-*.jsonl"))
    heads = [json.loads(path.read_text().splitlines()[0]) for path in kept]
    assert sorted(head["name"] for head in heads) == ["compare", "csr_only-3", "fine_mem-3"]


def test_a_malformed_data_set_does_not_stop_the_run(small_project, monkeypatch, store, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    pipeline = Pipeline([node(lambda source: {"name": "x"}, "source", "input_record", name="read")])
    run_through(MlflowHook(), context(small_project, experiment="malformed"), pipeline)
    assert only_run(store, "malformed").info.status == "FINISHED"
    assert "'input_record' could not be read for MLflow" in caplog.text


def test_disabled_it_leaves_nothing_and_listens_to_nothing(small_project):
    run_through(MlflowHook(), context(small_project, enabled=False), small_pipeline())
    assert not (small_project / "mlflow.db").exists()
    assert progress._subscribers == []


def test_neither_mlflow_nor_torch_is_loaded_before_a_run():
    code = "import sys, finemem_pipeline.hooks; print({'mlflow', 'torch'} & set(sys.modules))"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout == "set()\n"


def test_an_unknown_key_in_the_configuration_is_named_with_its_nearest_neighbour():
    with pytest.raises(FinememError, match=r"mlflow.yml: 'experimet' is not a known key. Did you mean 'experiment'?"):
        read_config({"mlflow": {"experimet": "x"}})


def test_a_wrong_type_in_the_configuration_says_what_was_found():
    with pytest.raises(FinememError, match=r"mlflow.yml: enabled: .* found 'perhaps'"):
        read_config({"mlflow": {"enabled": "perhaps"}})


def test_without_a_file_the_defaults_hold():
    class Loader(dict):
        def __missing__(self, key):
            raise MissingConfigException(key)

    assert read_config(Loader()).tracking_uri == "sqlite:///mlflow.db"


def test_the_configuration_of_the_project_is_sound(project):
    found = yaml.safe_load((project / "conf" / "base" / "mlflow.yml").read_text())
    assert read_config({"mlflow": found}).enabled


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///mlflow.db", "sqlite:////home/me/project/mlflow.db"),
        ("sqlite:////var/mlflow.db", "sqlite:////var/mlflow.db"),
        ("http://mlflow:5000", "http://mlflow:5000"),
    ],
)
def test_a_relative_store_lies_in_the_project(uri, absolute):
    assert tracking_uri(uri, Path("/home/me/project")) == absolute


def test_the_command_names_what_was_run_and_no_path():
    run_params = {
        "project_path": "/home/me/project",
        "pipeline_names": ["data", "train"],
        "node_names": ["learn"],
        "runtime_params": {"training": {"reward": "csr_only"}, "data": {"sources": ["squad", "mquake"]}},
    }
    assert command(run_params) == (
        "kedro run --pipelines=data,train --nodes=learn --params=training.reward=csr_only,data.sources=squad+mquake"
    )
    assert command({}) == "kedro run"


def test_parameters_are_flattened_with_dots():
    class Section(BaseModel):
        folder: Path = Path("data")

    params = plain({"a": {"b": [1, 2], "c": {}, "d": None}, "section": Section(), "when": Path("x")})
    assert flatten(params) == {"a.b": "1, 2", "a.c": "{}", "a.d": "None", "section.folder": "data", "when": "x"}


@pytest.mark.parametrize(
    ("updates", "shown"),
    [(0, []), (3, [1, 2, 3]), (8, [1, 2, 3, 4, 5, 6, 7, 8]), (200, [1, 29, 58, 86, 115, 143, 172, 200])],
)
def test_of_a_long_run_the_rollouts_of_some_updates_are_shown_the_first_and_last_among_them(updates, shown):
    files = [Path(f"step-{update:05d}.jsonl") for update in range(1, updates + 1)]
    assert [int(path.stem.removeprefix("step-")) for path in spread(files, ROLLOUTS_SHOWN)] == shown
