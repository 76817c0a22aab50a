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

    def kedro_run(self, *options: str, **environment: str) -> tuple[int, str, str]:
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
                **environment,
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
    return list(yaml.safe_load_all(printed))


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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"image: [a", "runner.yml cannot be read: Invalid YAML or JSON file"),
        (b"- a", "runner.yml: expected keys and values"),
        (b"image: ${oc.env:NO_SUCH_NAME}", "runner.yml cannot be read: KeyError raised while resolving interpolation"),
        (b"\xff\xfe", "runner.yml cannot be read: 'utf-8' codec can't decode byte"),
        (b"# all in comments", "runner.yml: image is not set."),  # and it does not train here
    ],
)
def test_whatever_stands_in_runner_yml_it_is_one_message(terminal, text, says):
    (terminal.folder / "conf/k8s/runner.yml").write_bytes(text)
    _, printed, said = terminal.kedro_run("--pipelines=train", "--params=runner.dry_run=true")
    assert says in said
    assert "Traceback" not in said
    assert printed == ""
    assert terminal.written() == []


def test_a_dry_run_prints_manifests_and_nothing_else(terminal):
    for logging in ("conf/k8s/logging.yml", "conf/logging.yml"):
        _, printed, _ = terminal.kedro_run(
            "--pipelines=train", "--params=runner.dry_run=true", KEDRO_LOGGING_CONFIG=logging
        )
        assert [job["kind"] for job in yaml.safe_load_all(printed)] == ["Job"]


def test_what_params_says_of_one_variable_leaves_the_others(terminal):
    (terminal.folder / "conf/k8s/runner.yml").write_text("image: i\nvolume: {claim: c}\nenv: {A: '1', B: '2'}\n")
    _, printed, _ = terminal.kedro_run(
        "--pipelines=train", "--params=runner.dry_run=true,runner.env.B=3,runner.cpu=8,runner.volume.sub_path=mine"
    )
    [job] = manifests(printed)
    [container] = job["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    assert (given["A"], given["B"]) == ("1", "3")
    assert container["resources"]["requests"]["cpu"] == "8"
    assert {"name": "claim-c", "mountPath": "/app/data", "subPath": "mine"} in container["volumeMounts"]
    _, _, said = terminal.kedro_run("--pipelines=train", "--params=runner=5")
    assert "Error: --params=runner=5: name a key of runner.yml" in said


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--nodes=train_policy", "Did you mean: ['train.train_policy']?"),
        ("--from-nodes=nobody", "does not contain nodes named ['nobody']"),
        ("--tags=nothing", "contains no nodes after applying all provided filters"),
        ("--namespaces=nowhere", "does not contain nodes with the following namespaces: ['nowhere']"),
    ],
)
def test_nodes_that_are_not_there_are_told_without_a_traceback(terminal, option, says):
    code, _, said = terminal.kedro_run("--pipelines=train", option)
    assert code == 1
    assert f"Error: {option.partition('=')[0]}: " in said
    assert says in said
    assert "Traceback" not in said


def test_processes_that_have_no_gpu_or_cannot_share_the_streams_are_refused_before_they_wait_for_a_node(terminal):
    _, _, said = terminal.kedro_run(
        "--pipelines=train", "--params=runner.dry_run=true,runner.processes=3,runner.gpus=1,runner.nodes=2"
    )
    assert "processes: 3 in a pod of 1 GPUs, and every process needs one of its own." in said
    assert "2 streams an update cannot be shared by 6 processes (runner.yml: nodes 2, processes 3)" in said
