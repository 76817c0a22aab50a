"""Every object of every overlay, against the API's own schemas; and what it may name."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

PROJECT = Path(__file__).resolve().parents[2]
VERSIONS = ("1.35", "1.36", "1.37")
"""Of Kubernetes: those that its makers still mend."""
NOT_OF_KUBERNETES = {"kueue.x-k8s.io/v1beta2"}


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


def distinct(sites: dict[str, tuple[dict[str, Any], ...]]) -> list[dict[str, Any]]:
    texts = {json.dumps(each, sort_keys=True) for site in sites.values() for each in site}
    return [json.loads(text) for text in sorted(texts)]


def named(site: tuple[dict[str, Any], ...], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in site if each["kind"] == kind}


def values(thing: Any, key: str) -> list[Any]:
    """Whatever stands under this key, anywhere."""
    if isinstance(thing, dict):
        found = [thing[key]] if key in thing else []
        return found + [inner for each in thing.values() for inner in values(each, key)]
    return [inner for each in thing for inner in values(each, key)] if isinstance(thing, list) else []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_for_the_api(sites, version):
    for each in distinct(sites):
        if each["apiVersion"] not in NOT_OF_KUBERNETES:
            kubernetes_validate.validate(each, version, strict=True)


def test_a_field_that_the_api_does_not_know_would_be_found(sites):
    wrong = json.loads(json.dumps(named(sites["dev"], "Deployment")["mlflow"]))
    wrong["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_queue_leads_from_the_namespace_to_a_flavour(sites):
    site = sites["kueue"]
    [local], [queue] = named(site, "LocalQueue").values(), named(site, "ClusterQueue").values()
    assert local["metadata"]["namespace"] == "finemem"
    assert "namespace" not in queue["metadata"]
    assert local["spec"] == {"clusterQueue": queue["metadata"]["name"]}
    assert queue["spec"]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "finemem"}}
    [group] = queue["spec"]["resourceGroups"]
    [flavor] = group["flavors"]
    assert flavor["name"] in named(site, "ResourceFlavor")
    assert [each["name"] for each in flavor["resources"]] == group["coveredResources"]


def test_all_is_in_the_one_namespace(site):
    for each in site:
        if each["kind"] not in ("Namespace", "ClusterQueue", "ResourceFlavor"):
            assert each["metadata"]["namespace"] == "finemem"


def test_secrets_are_named_and_never_made(site, overlay):
    assert not named(site, "Secret")
    keys = values(list(site), "secretKeyRef")
    assert {(each["name"], each["key"]) for each in keys if each.get("optional")} == {
        ("hugging-face", "token"),
        ("reader", "api-key"),
    }
    needed = {(each["name"], each["key"]) for each in keys if not each.get("optional")}
    whole = {each["name"] for each in values(list(site), "secretRef")}
    if overlay in ("dev", "gpu-1"):
        assert (needed, whole) == (set(), set())
    else:
        assert needed == {("mlflow-database", "uri")}
        assert whole == ({"object-store"} if overlay != "gpu-2x8" else set())


def test_what_is_mounted_and_read_is_there(site):
    claims, maps = named(site, "PersistentVolumeClaim"), named(site, "ConfigMap")
    used = {each["claimName"] for each in values(list(site), "persistentVolumeClaim")}
    assert used == set(claims)
    for each in [*values(list(site), "configMapRef"), *values(list(site), "configMapKeyRef")]:
        assert each["name"] in maps
        assert each.get("key", next(iter(maps[each["name"]]["data"]))) in maps[each["name"]]["data"]


def test_mlflow_answers_to_its_names_with_and_without_the_port(site):
    [container] = named(site, "Deployment")["mlflow"]["spec"]["template"]["spec"]["containers"]
    hosts = next(each["value"] for each in container["env"] if each["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS").split(",")
    names = [host for host in hosts if ":" not in host]
    assert names == [
        *("mlflow", "mlflow.finemem", "mlflow.finemem.svc", "mlflow.finemem.svc.cluster.local"),
        *("localhost", "127.0.0.1"),
    ]
    assert hosts == [each for name in names for each in (name, f"{name}:5000")]


def test_runs_are_kept_in_sqlite_by_one_process_or_in_postgres_by_several(site, overlay):
    [container] = named(site, "Deployment")["mlflow"]["spec"]["template"]["spec"]["containers"]
    store = next(each for each in container["env"] if each["name"] == "MLFLOW_BACKEND_STORE_URI")
    small = overlay in ("dev", "gpu-1")
    assert store.get("value") == ("sqlite:////mlflow/mlflow.db" if small else None)
    assert f"--workers={1 if small else 4}" in container["args"]
    assert not [each for each in container["args"] if "store-uri" in each]  # a password would be seen among processes


def test_the_launcher_finds_the_runner_of_the_overlay_where_kedro_reads_it(site, overlay):
    [container] = named(site, "Deployment")["launcher"]["spec"]["template"]["spec"]["containers"]
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "runner"]
    assert mount["mountPath"] == "/app/conf/k8s/runner.yml"
    [text] = [each["data"]["runner.yml"] for name, each in named(site, "ConfigMap").items() if "runner" in name]
    assert text == (PROJECT / f"k8s/overlays/{overlay}/runner.yml").read_text(encoding="utf-8")


def test_every_image_has_a_tag_of_its_own(site):
    for image in values([each for each in site if each["kind"] == "Deployment"], "image"):
        name, _, tag = image.partition(":")
        assert name in ("finemem-pipeline", "vllm/vllm-openai")
        assert tag not in ("", "latest")


def test_the_folders_of_the_kustomizations_hold_nothing_that_is_not_used():
    for kustomization in (PROJECT / "k8s").rglob("kustomization.yaml"):
        given = yaml.safe_load(kustomization.read_text(encoding="utf-8"))
        generators = given.get("configMapGenerator", ())
        used = [file for each in generators for file in (*each.get("files", ()), *each.get("envs", ()))]
        used += [file for file in given["resources"] if file.endswith(".yaml")]
        assert {each.name for each in kustomization.parent.iterdir()} == {"kustomization.yaml", *used}
