"""docs/how-to/train-on-a-cluster.md: every command of it is run here, or what of it can be without a cluster."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from finemem_pipeline.cluster.fake_api import FakeApi

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs/how-to/train-on-a-cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
IN_NAMESPACE = "kubectl --namespace finemem "
LAUNCHER = re.compile(re.escape(IN_NAMESPACE) + r"exec (?:--stdin --tty )?deploy/launcher -- (.*)")
SECRETS = {"HF_TOKEN": "1", "AWS_ACCESS_KEY_ID": "2", "AWS_SECRET_ACCESS_KEY": "3", "DATABASE_PASSWORD": "4"}

Site = tuple[dict[str, Any], ...]


def started(start: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(start)]


def in_launcher() -> list[list[str]]:
    """What is typed in the launcher, in the order of the page."""
    return [shlex.split(match[1]) for command in COMMANDS if (match := LAUNCHER.fullmatch(command))]


def named(site: Site, kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in site if each["kind"] == kind}


def values(thing: Any, key: str) -> list[Any]:
    """Whatever stands under this key, anywhere."""
    if isinstance(thing, dict):
        found = [thing[key]] if key in thing else []
        return found + [inner for each in thing.values() for inner in values(each, key)]
    return [inner for each in thing for inner in values(each, key)] if isinstance(thing, list) else []


def test_every_command_is_of_a_kind_that_is_looked_at():
    kinds = (
        "kubectl get ", "docker buildx imagetools inspect ", "export ", "docker build ", "docker push ",
        "kubectl apply --kustomize ",
        *(IN_NAMESPACE + verb for verb in (
            "wait ", "exec ", "cp ", "port-forward ", "create secret ", "create token ", "rollout "
        )),
    )  # fmt: skip
    assert [command for command in COMMANDS if not command.startswith(kinds)] == []
    assert len(COMMANDS) > 25


def test_the_overlay_that_is_applied_is_there(sites):
    [command] = started("kubectl apply")
    folder = command.split()[-1]
    assert folder == "k8s/overlays/gpu-1"
    assert folder.rpartition("/")[2] in sites


def test_builds_name_the_files_their_arguments_and_the_tags_of_the_overlay(sites):
    exported = dict(pair.split("=", 1) for command in started("export ") for pair in command.split()[1:])
    tags = set()
    for command in started("docker build "):
        words = shlex.split(command)
        file = (PROJECT / words[words.index("--file") + 1]).read_text(encoding="utf-8")
        declared = set(re.findall(r"^ARG (\w+)", file, re.M))
        for argument in [words[place + 1] for place, word in enumerate(words) if word == "--build-arg"]:
            name, given, _ = argument.partition("=")
            assert name in declared
            assert given or name in exported  # without a value it is taken from the environment
        tags.add(words[words.index("--tag") + 1].removeprefix("$REGISTRY/"))
    needed = {each for each in values(list(sites["gpu-1"]), "image") if each.startswith("finemem-pipeline")}
    [runner] = [each["data"]["runner.yml"] for name, each in named(sites["gpu-1"], "ConfigMap").items()]
    assert tags == needed | {yaml.safe_load(runner)["image"]}
    assert {command.split("/", 1)[1] for command in started("docker push ")} == tags
    images = {command.split()[4] for command in started("docker buildx ")}
    files = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "k8s").glob("Dockerfile.*"))
    assert images == set(re.findall(r"^ARG \w+_IMAGE=(\S+)", files, re.M))


def test_secrets_are_made_under_the_names_that_pods_ask_for(sites):
    asked = {(each["name"], each["key"]) for site in sites.values() for each in values(list(site), "secretKeyRef")}
    whole = {each["name"] for site in sites.values() for each in values(list(site), "secretRef")}
    made = set()
    for command in started(IN_NAMESPACE + "create secret "):
        done = subprocess.run(
            ["bash", "-c", f"{command} --dry-run=client --output=json"],
            env={**os.environ, **SECRETS, "READER_KEY": "5"},
            capture_output=True,
            check=True,
        )
        secret = json.loads(done.stdout)
        assert secret["metadata"]["namespace"] == "finemem"
        made |= {(secret["metadata"]["name"], key) for key in secret["data"]}
    keys = {("object-store", name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    assert made == asked | keys
    assert whole == {"object-store"}


def test_deployments_services_and_accounts_that_are_named_are_there(sites):
    site = sites["gpu-8"]
    assert set(re.findall(r"deploy(?:ment)?/(\w+)", PAGE)) <= set(named(site, "Deployment"))
    for name, port in re.findall(r"http://(\w+):(\d+)/v1", PAGE):
        assert int(port) in [each["port"] for each in named(site, "Service")[name]["spec"]["ports"]]
    assert "port-forward service/mlflow 5000:5000" in PAGE
    [token] = started(IN_NAMESPACE + "create token ")
    assert token.split()[-1] in named(sites["gpu-1"], "ServiceAccount")
    [copied] = started(IN_NAMESPACE + "cp ")
    selector = re.search(r"--selector=(\S+)=(\S+)", copied)
    labels = named(sites["gpu-1"], "Deployment")["launcher"]["spec"]["template"]["metadata"]["labels"]
    assert labels[selector[1]] == selector[2]


def test_the_table_of_overlays_is_the_folder_of_overlays(sites):
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([\d +]+) \|", PAGE, re.M)
    said = {name: sum(map(int, gpus.split("+"))) for name, gpus in rows}
    quotas = {name: named(site, "ResourceQuota")["finemem"]["spec"]["hard"] for name, site in sites.items()}
    assert said == {name: int(hard["requests.nvidia.com/gpu"]) for name, hard in quotas.items()}


def test_programs_and_modules_that_are_typed_in_the_launcher_are_installed():
    for words in in_launcher():
        if words[:2] == ["python", "-m"]:
            assert find_spec(words[2]) is not None
        elif words[0] not in ("tar", "python"):  # of the system
            assert Path(sys.executable).with_name(words[0]).exists(), words[0]


@pytest.fixture
def cluster(project: Path, tiny_model: Path, tmp_path: Path, sites) -> Iterator[tuple[FakeApi, Path, dict[str, str]]]:
    """(API server with the objects of the overlay, the launcher's /app, its environment), with a tiny model."""
    site, app = sites["gpu-1"], tmp_path / "app"
    shutil.copytree(project / "conf", app / "conf", ignore=shutil.ignore_patterns("local"))
    (app / "conf" / "local").mkdir()
    (app / "src").mkdir()
    shutil.copy(project / "pyproject.toml", app)
    shutil.copytree(tiny_model, app / "data/06_models/base/tiny")
    shutil.copy(project / "conf/test/parameters.yml", app / "conf/k8s/parameters.yml")
    [runner] = [each["data"]["runner.yml"] for each in named(site, "ConfigMap").values()]
    (app / "conf/k8s/runner.yml").write_text(runner, encoding="utf-8")
    image = {"KEDRO_LOGGING_CONFIG": "conf/k8s/logging.yml", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    [container] = named(site, "Deployment")["launcher"]["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    # The server has a test of its own; here is neither its name nor the mount of the volume.
    given |= {"MLFLOW_TRACKING_URI": "sqlite:///data/mlflow.db", "HF_HOME": str(tmp_path / "huggingface")}
    plurals = {
        "ServiceAccount": "serviceaccounts",
        "PersistentVolumeClaim": "persistentvolumeclaims",
        "ResourceQuota": "resourcequotas",
    }
    with FakeApi(app, environment={**os.environ, **image}) as api:
        for each in site:
            if each["kind"] in plurals:
                api.create(plurals[each["kind"]], each)
        api.deny("get", "secrets")
        config = {"KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig"))}
        yield api, app, {**os.environ, **image, **given, **config}
        print(api.timeline())


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_from_an_empty_cluster_to_a_trained_variant_in_mlflow(cluster):
    """The commands of steps 3 to 6, as they stand there, but for the one that fetches the small model."""
    api, app, environment = cluster
    steps = PAGE[PAGE.index("## 3.") : PAGE.index("## A larger model")]
    commands = [words for words in in_launcher() if shlex.join(words) in steps or " ".join(words) in steps]
    commands = [words for words in commands if "finemem_pipeline.training.small_model" not in words]
    said = []
    for words in commands:
        program = [sys.executable, "-m", "kedro"] if words[0] == "kedro" else [sys.executable]
        done = subprocess.run(
            [*program, *words[1:]], cwd=app, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        said.append(done.stdout)
        if "--params=runner.dry_run=true" in words:
            assert not api.objects("jobs")
    doctor, _, manifests, _, status, evaluated = said
    assert "error" not in doctor
    assert [each["kind"] for each in yaml.safe_load_all(manifests)] == ["Job"]
    [job] = api.objects("jobs")
    assert re.search(rf"{job['metadata']['name']} +succeeded", status)
    assert "warm_started" in evaluated

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{app}/data/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("finemem").experiment_id])
    trained = next(run for run in runs if run.data.tags["pipeline"] == "train")
    assert trained.info.status == "FINISHED"
    assert trained.data.tags["k8s.job"] == job["metadata"]["name"]
    assert "train/reward/total" in trained.data.metrics
    assert [model.name for model in client.search_logged_models([trained.info.experiment_id])] == [
        f"{trained.data.params['training.recipe']}-fine_mem-0"
    ]
