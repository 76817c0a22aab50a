"""`kedro run --pipeline=train --env=k8s` against a fake API server whose pods are processes that train for real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from finemem_pipeline.cluster.fake_api import FakeApi, Scenario
from finemem_pipeline.stopping import RESUME_EXIT_CODE

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

    def launch(self, *options: str) -> subprocess.Popen[str]:
        """A launcher at work."""
        process = subprocess.Popen(
            [sys.executable, "-m", "kedro", "run", "--pipeline=train", "--env=k8s", *options],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.launchers.append(process)
        return process

    def run(self, *options: str) -> tuple[int, str]:
        """The exit code of a launcher, and what it said."""
        process = self.launch(*options)
        said, _ = process.communicate(timeout=2000)
        return process.returncode, said

    def jobs(self) -> list[dict[str, Any]]:
        return self.api.objects("jobs")

    def updates(self) -> int:
        """How many have been made."""
        return len(metrics(self.folder))

    def mlflow_runs(self) -> list[Any]:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder}/data/mlflow.db")
        return list(client.search_runs([client.get_experiment_by_name("finemem").experiment_id]))


def metrics(folder: Path) -> list[dict[str, Any]]:
    """What every update has measured, but for times."""
    files = list(folder.glob("data/06_models/fine_mem-*/metrics.jsonl"))
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
    for pipelines, root in (("data,qa_generation", folder), ("train", folder / "local")):
        if root != folder:
            shutil.copytree(folder, root, ignore=shutil.ignore_patterns("local"), dirs_exist_ok=True)
            (root / "conf" / "local").mkdir()
        subprocess.run(
            [sys.executable, "-m", "kedro", "run", f"--pipelines={pipelines}", "--env=k8s"]
            + (["--runner=SequentialRunner"] if root != folder else []),
            cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
        )
    return folder


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
