"""`kedro run --pipeline=train --env=k8s` against a fake API server whose pods are processes that train for real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from mlflow import MlflowClient

from finemem_pipeline.cluster.fake_api import FakeApi, Scenario
from finemem_pipeline.stopping import RESUME_EXIT_CODE
from finemem_pipeline.store.places import place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]  # an idle machine takes a minute for each

STEPS = 5
TIMES = ("seconds/", "tokens_per_second")
RUNNER = {
    "image": f"registry.example/finemem@sha256:{'a' * 64}",
    "gpus": 0,
    "cpu": "1",
    "memory": "4Gi",
    "volume": {"claim": "finemem-data", "path": "data"},
    "grace": 60,
    "env": {
        "KEDRO_LOGGING_CONFIG": "conf/k8s/logging.yml",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    },
}


class Site:
    """A project with a cluster around it."""

    def __init__(self, folder: Path, api: FakeApi) -> None:
        self.folder, self.api = folder, api
        self.launchers: list[subprocess.Popen[str]] = []
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(api.kubeconfig(folder / "kubeconfig")),
            "KEDRO_LOGGING_CONFIG": "conf/k8s/logging.yml",
            "OMP_NUM_THREADS": "1",
        }

    def launch(self, *options: str, pipeline: str = "train") -> subprocess.Popen[str]:
        """A launcher at work."""
        process = subprocess.Popen(
            [sys.executable, "-m", "kedro", "run", f"--pipeline={pipeline}", "--env=k8s", *options],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.launchers.append(process)
        return process

    def run(self, *options: str, pipeline: str = "train") -> tuple[int, str]:
        """The exit code of a launcher, and what it said."""
        process = self.launch(*options, pipeline=pipeline)
        said, _ = process.communicate(timeout=2000)
        return process.returncode, said

    def jobs(self) -> list[dict[str, Any]]:
        return self.api.objects("jobs")

    def updates(self) -> int:
        """How many have been made."""
        return len(metrics(self.folder))

    def mlflow_runs(self) -> list[Any]:
        client = MlflowClient(f"sqlite:///{self.folder}/data/mlflow.db")
        return list(client.search_runs([client.get_experiment_by_name("finemem").experiment_id]))


def metrics(folder: Path, runs: str = "fine_mem-*") -> list[dict[str, Any]]:
    """What every update has measured, but for times."""
    files = sorted(folder.glob(f"data/06_models/{runs}/metrics.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith(TIMES)} for row in rows]


def until(true: Callable[[], object], process: subprocess.Popen[str], seconds: float = 2000) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, project: Path, tiny_model: Path) -> Path:
    """A project with streams, in which the variant has been trained without a cluster, in a folder of its own."""
    folder = tmp_path_factory.mktemp("prepared")
    shutil.copytree(project / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    shutil.copy(project / "pyproject.toml", folder)
    (folder / "src").mkdir()
    shutil.copytree(tiny_model, folder / "data" / "06_models" / "base" / "tiny")
    parameters = yaml.safe_load((folder / "conf/test/parameters.yml").read_text("utf-8"))
    parameters["training"]["steps"] = STEPS
    parameters["training"]["warm_start"]["imitation_steps"] = 0
    (folder / "conf/k8s/parameters.yml").write_text(yaml.safe_dump(parameters), "utf-8")
    (folder / "conf/k8s/runner.yml").write_text(yaml.safe_dump(RUNNER), "utf-8")
    here(folder, "data,qa_generation")
    shutil.copytree(folder, folder / "local", ignore=shutil.ignore_patterns("local"))
    (folder / "local" / "conf" / "local").mkdir()
    here(folder / "local", "train")
    return folder


def here(folder: Path, pipelines: str) -> None:
    """Runs them without a cluster."""
    subprocess.run(
        [sys.executable, "-m", "kedro", "run", f"--pipelines={pipelines}", "--env=k8s", "--runner=SequentialRunner"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )


@pytest.fixture
def site(prepared: Path, tmp_path: Path) -> Iterator[Site]:
    # a shell ignores Ctrl-C for what it starts in the background, and so would the launchers
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = tmp_path / "project"
    shutil.copytree(prepared, folder, ignore=shutil.ignore_patterns("local", "mlflow.db"))
    (folder / "conf" / "local").mkdir()
    with FakeApi(folder) as api:
        for plural, name in (("serviceaccounts", "finemem-worker"), ("persistentvolumeclaims", "finemem-data")):
            api.create(plural, {"metadata": {"name": name, "namespace": "finemem"}})
        around = Site(folder, api)
        yield around
        for launcher in around.launchers:
            launcher.kill()
        print(api.timeline())
    signal.signal(signal.SIGINT, before)


def test_a_variant_trained_on_the_cluster_is_the_variant_trained_here(site, prepared, capsys):
    code, said = site.run()
    with capsys.disabled():
        print(f"\n{site.api.timeline()}")
    assert code == 0, said[-4000:]
    assert len(metrics(prepared / "local")) == STEPS
    assert metrics(site.folder) == metrics(prepared / "local")
    [job] = site.jobs()
    assert "[train/0]" in said
    [run] = site.mlflow_runs()
    assert (run.info.status, run.info.run_name) == ("FINISHED", "train-fine_mem-0")
    assert run.data.tags["k8s.job"] == job["metadata"]["name"]
    assert run.data.tags["k8s.outcome"] == "succeeded"
    assert run.data.tags["k8s.image"].startswith("registry.example/finemem@sha256:")
    assert "train/reward/total" in run.data.metrics
    assert run.data.params["training.steps"] == str(STEPS)


def test_a_launcher_that_is_killed_and_started_again_finds_its_job_and_its_run(site, prepared):
    first = site.launch()
    until(lambda: site.updates() >= 1, first)
    first.kill()
    first.communicate()
    code, said = site.run()
    assert code == 0, said[-4000:]
    assert "[train] found" in said
    assert len(site.jobs()) == 1
    assert len(site.api.objects("pods")) == 1
    assert metrics(site.folder) == metrics(prepared / "local")
    [run] = site.mlflow_runs()
    assert run.info.status == "FINISHED"


def test_a_pod_that_is_preempted_is_replaced_and_ends_with_the_same_weights(site, prepared):
    site.api.play("*", Scenario(kill="Preempted", kill_when=lambda: site.updates() >= 2))
    code, said = site.run()
    assert code == 0, said[-4000:]
    assert "[train] preempted" in said
    assert metrics(site.folder) == metrics(prepared / "local")


def test_a_fault_of_the_work_ends_the_run_at_once_with_what_the_pod_said(site):
    code, said = site.run("--params=recipes.tiny.model=data/06_models/base/none")
    assert code == 1
    assert "Traceback" not in said.partition("Its last lines:")[2].partition("nodes have not run")[2]
    assert "there is no model at data/06_models/base/none" in said.partition("Its last lines:")[2]
    assert "2 of 2 nodes have not run: train.warm_start_policy, train.train_policy." in said
    assert "--from-nodes=train.warm_start_policy" in said
    assert len(site.api.objects("pods")) == 1
    [run] = site.mlflow_runs()
    assert run.info.status == "FAILED"


def test_ctrl_c_cancels_and_the_same_command_goes_on_from_the_checkpoint(site, prepared):
    first = site.launch()
    until(lambda: site.updates() >= 2, first)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=1000)
    assert first.returncode == 130, said[-4000:]
    assert "Cancelled finemem-train-train-" in said
    assert site.jobs() == []
    [run] = site.mlflow_runs()
    assert run.info.status == "KILLED"
    code, said = site.run()
    assert code == 0, said[-4000:]
    assert metrics(site.folder) == metrics(prepared / "local")


def test_sigterm_leaves_the_job_and_the_next_launcher_attaches(site, prepared):
    first = site.launch()
    until(lambda: site.updates() >= 1, first)
    first.send_signal(signal.SIGTERM)
    said, _ = first.communicate(timeout=1000)
    assert first.returncode == RESUME_EXIT_CODE, said[-4000:]
    assert len(site.jobs()) == 1
    code, said = site.run()
    assert code == 0, said[-4000:]
    assert len(site.api.objects("pods")) == 1
    assert metrics(site.folder) == metrics(prepared / "local")


def test_compared_variants_are_trained_side_by_side_and_compare_as_they_do_here(site, tmp_path, capsys):
    alone = tmp_path / "alone"
    shutil.copytree(site.folder, alone)
    here(alone, "compare")
    code, said = site.run(pipeline="compare")
    with capsys.disabled():
        print(f"\n{site.api.timeline()}")
    assert code == 0, said[-4000:]
    names = {job["metadata"]["name"]: job["metadata"]["labels"]["finemem/group"] for job in site.jobs()}
    assert sorted(names.values()) == ["fine_mem_seed_0", "outcome_only_seed_0", "shared"]
    assert (site.folder / "data/08_reporting/compare.html").is_file()
    for name in ("references", "fine_mem_seed_0/evaluation", "outcome_only_seed_0/evaluation"):
        assert played(site.folder, name) == played(alone, name) != []
    assert learned(site.folder) == learned(alone) != []
    runs = {run.info.run_name: run for run in site.mlflow_runs()}
    parent = next(name for name in runs if name.startswith("compare"))
    for variant in ("fine_mem", "outcome_only"):
        child = runs[f"{variant}-0"]
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == runs[parent].info.run_id
        assert names[child.data.tags["k8s.job"]] == f"{variant}_seed_0"
        assert "train/reward/total" in child.data.metrics


def learned(folder: Path) -> list[dict[str, Any]]:
    """Jobs side by side share the answers that were paid for: which of them pays is chance."""
    chance = ("reader/calls", "reader/cache_hits")
    return [{key: value for key, value in row.items() if key not in chance} for row in metrics(folder, "*")]


def played(folder: Path, name: str) -> list[dict[str, Any]]:
    """How streams have ended, but for times."""
    rows = (folder / f"data/07_model_output/compare/{name}.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(row) for row in rows]
    for row in found:
        for spent in (row["write"], row["read"]):
            spent.pop("seconds")
    return found


def test_pods_and_launcher_that_share_a_bucket_and_a_tracking_server_need_no_common_disk(
    prepared, tmp_path, s3, s3_environment, tracking_server
):
    """The pods run in a folder without data, as in a container of their own."""
    launcher, container = tmp_path / "launcher", tmp_path / "container"
    for folder in (launcher, container):
        shutil.copytree(prepared, folder, ignore=shutil.ignore_patterns("local", "data"))
        (folder / "conf" / "local").mkdir()
        secrets = {name: f"object-store/{name}" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        plain = {name: value for name, value in s3_environment.items() if name not in secrets}
        runner = {**RUNNER, "volume": None, "secrets": secrets, "env": {**RUNNER["env"], **plain}}
        (folder / "conf/k8s/runner.yml").write_text(yaml.safe_dump(runner), "utf-8")
    shutil.copytree(prepared / "data", launcher / "data", ignore=shutil.ignore_patterns("mlflow.db"))
    keep = [sys.executable, "-m", "finemem_pipeline.store", "put", "--env=k8s"]
    shared = {**os.environ, **s3_environment, "FINEMEM_DATA": s3, "MLFLOW_TRACKING_URI": tracking_server}
    subprocess.run(
        [*keep, "data/06_models/base/tiny", "data/03_primary", "data/04_feature"], cwd=launcher, env=shared, check=True
    )
    shutil.rmtree(launcher / "data")
    with FakeApi(container) as api:
        api.create("serviceaccounts", {"metadata": {"name": "finemem-worker", "namespace": "finemem"}})
        api.secret("finemem", "object-store", **{name: s3_environment[name] for name in secrets})
        site = Site(launcher, api)
        site.environment |= {key: shared[key] for key in (*s3_environment, "FINEMEM_DATA", "MLFLOW_TRACKING_URI")}
        code, said = site.run()
    assert code == 0, said[-4000:]
    assert metrics(container) == metrics(prepared / "local")
    assert not list(launcher.glob("data/06_models/fine_mem-*"))
    kept = place(s3)
    [trained] = (prepared / "local").glob("data/06_models/fine_mem-*")
    weights = f"policy-{STEPS:05d}/adapter_model.safetensors"
    assert kept.read(f"06_models/{trained.name}/{weights}") == (trained / weights).read_bytes()
    [record] = [name for name in kept.files("08_reporting/jobs") if name.endswith(".json")]
    assert json.loads(kept.read(record))["status"] == "succeeded"
    [run] = MlflowClient(tracking_server).search_runs(["1"])
    assert (run.info.status, run.data.tags["k8s.outcome"]) == ("FINISHED", "succeeded")
    assert "train/reward/total" in run.data.metrics


@pytest.fixture
def tracking_server(tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server with an empty database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "mlflow"
    folder.mkdir()
    arguments = ("--backend-store-uri=sqlite:///runs.db", "--artifacts-destination=artifacts", f"--port={port}")
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--workers=1", *arguments], cwd=folder, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{address}/health"), server, 300)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(address: str) -> bool:
    try:
        urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True
