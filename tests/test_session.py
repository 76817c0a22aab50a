"""`kedro run --env=k8s` at a terminal, without a cluster in sight."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


class Terminal:
    """`kedro run` in a project without data, and a kubeconfig that leads nowhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def kedro_run(self, *options: str) -> tuple[int, str, str]:
        """Exit code, output and errors."""
        done = subprocess.run(
            [sys.executable, "-m", "kedro", "run", "--env=k8s", *options],
            cwd=self.folder,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "COLUMNS": "400",
                "KUBECONFIG": str(self.folder / "kubeconfig"),
                "KEDRO_LOGGING_CONFIG": "conf/k8s/logging.yml",
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def written(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name not in ("conf", "src", "pyproject.toml"))


@pytest.fixture
def terminal(project: Path, tmp_path: Path) -> Terminal:
    shutil.copytree(project / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    shutil.copy(project / "pyproject.toml", tmp_path)
    for folder in ("src", "conf/local"):
        (tmp_path / folder).mkdir()
    return Terminal(tmp_path)


def test_without_a_cluster_one_message_names_the_kubeconfig_before_anything_else_is_looked_at(terminal):
    code, _, said = terminal.kedro_run("--pipeline=train")
    assert code == 1
    assert "Error: The Kubernetes cluster cannot be used." in said
    assert f"kubeconfig: {terminal.folder}/kubeconfig" in said
    assert "name another one" in said
    assert "Traceback" not in said
    assert "train_questions" not in said  # which is missing too
    assert terminal.written() == []


def manifests(printed: str) -> list[dict]:
    """What follows the first mark; lines of Kedro's own may stand before."""
    return list(yaml.safe_load_all(printed[printed.index("---\n") :]))


def test_a_dry_run_prints_the_job_that_would_train_the_variant_and_leaves_nothing(terminal):
    code, printed, _ = terminal.kedro_run("--pipeline=train", "--params=runner.dry_run=true,training.seed=4")
    assert code == 0
    [job] = manifests(printed)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][:4] == ["python", "-m", "kedro", "run"]
    assert "--nodes=train.warm_start_policy,train.train_policy" in container["command"]
    assert "--params=training.seed=4" in container["command"]
    assert terminal.written() == []


def test_a_comparison_is_a_job_for_every_variant_and_seed(terminal):
    params = "compare.variants=fine_mem+csr_only,compare.seeds=0+1,runner.dry_run=true"
    code, printed, said = terminal.kedro_run("--pipelines=compare", f"--params={params}")
    assert code == 0, said
    groups = [job["metadata"]["labels"]["finemem/group"] for job in manifests(printed)]
    assert len(set(groups)) == len(groups) == 5
    assert groups[0] == "shared"
    assert sorted(group.rsplit("seed")[0][:8] for group in groups[1:]) == [
        "csr_only",
        "csr_only",
        "fine_mem",
        "fine_mem",
    ]


def test_options_of_the_runner_are_checked_like_parameters(terminal):
    _, _, said = terminal.kedro_run("--pipelines=train", "--params=runner.dryrun=true,runner.gpus=many")
    assert "runner.yml: 'dryrun' is not a known key. Did you mean 'dry_run'?" in said
    assert "runner.yml: gpus: Input should be a valid integer" in said
    assert "Traceback" not in said


def test_the_runner_can_be_named_with_options_of_its_own(terminal):
    code, printed, _ = terminal.kedro_run(
        "--pipelines=train",
        "--runner=finemem_pipeline.runner.KubernetesRunner",
        "--runner-params=dry_run=true,namespace=elsewhere",
    )
    assert code == 0
    assert [job["metadata"]["namespace"] for job in manifests(printed)] == ["elsewhere"]


def test_what_needs_no_pod_needs_no_cluster(terminal):
    _, _, said = terminal.kedro_run("--pipelines=qa_generation")
    assert "train_episodes: not there yet." in said
    assert "cluster" not in said
