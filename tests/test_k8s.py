"""The manifests, against the API's own schemas and the restricted pod security standard."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]
BASE = PROJECT / "k8s" / "base"
OVERLAYS = sorted((PROJECT / "k8s" / "overlays").iterdir())
KUBERNETES = "1.34"


def kustomization(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))


def manifests() -> list[dict[str, Any]]:
    files = [BASE / name for name in kustomization(BASE)["resources"]]
    return [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def job() -> dict[str, Any]:
    [found] = [each for each in manifests() if each["kind"] == "Job"]
    return found


def patched(document: dict[str, Any], overlay: Path) -> dict[str, Any]:
    """The document after the removals that an overlay asks for; a path that is not there is an error."""
    document = json.loads(json.dumps(document))
    for patch in kustomization(overlay)["patches"]:
        assert patch["target"] == {"kind": document["kind"], "name": document["metadata"]["name"]}
        for change in yaml.safe_load(patch["patch"]):
            assert change["op"] == "remove"
            *way, last = [part.replace("~1", "/") for part in change["path"].split("/")[1:]]
            place: Any = document
            for part in way:
                place = place[int(part)] if isinstance(place, list) else place[part]
            del place[last]
    return document


@pytest.mark.parametrize("document", manifests(), ids=lambda document: document["kind"])
def test_every_manifest_is_valid_for_the_api(document):
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_a_field_that_the_api_does_not_know_would_be_found():
    wrong = job() | {"spec": job()["spec"] | {"backOffLimit": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_kustomizations_name_files_that_are_there_and_all_of_them():
    assert sorted(kustomization(BASE)["resources"]) == sorted(
        file.name for file in BASE.iterdir() if file.name != "kustomization.yaml"
    )
    for overlay in OVERLAYS:
        for resource in kustomization(overlay)["resources"]:
            assert (overlay / resource / "kustomization.yaml").is_file()


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_what_an_overlay_makes_of_the_job_is_valid_too(overlay):
    changed = patched(job(), overlay)
    kubernetes_validate.validate(changed, KUBERNETES, strict=True)
    assert changed != job()


def test_the_base_asks_for_one_gpu_and_the_cpu_overlay_for_none():
    [train] = job()["spec"]["template"]["spec"]["containers"]
    assert train["resources"]["limits"]["nvidia.com/gpu"] == "1"
    [without] = patched(job(), PROJECT / "k8s/overlays/cpu")["spec"]["template"]["spec"]["containers"]
    assert "gpu" not in json.dumps(without["resources"])


def test_pods_meet_the_restricted_standard_that_their_namespace_enforces():
    [namespace] = [each for each in manifests() if each["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = job()["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_no_pod_gets_a_token_of_the_api_server():
    [account] = [each for each in manifests() if each["kind"] == "ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
    assert job()["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_quantities_are_texts_and_every_mount_has_its_volume():
    pod = job()["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in [*pod["initContainers"], *pod["containers"]]:
        quantities = [value for group in container["resources"].values() for value in group.values()]
        assert all(isinstance(value, str) for value in quantities)
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    assert "/dev/shm" in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]


def test_the_image_runs_what_the_job_asks_for_as_the_user_that_the_job_names():
    lines = (PROJECT / "k8s/Dockerfile").read_text(encoding="utf-8").splitlines()
    entry = next(line.removeprefix("ENTRYPOINT ") for line in lines if line.startswith("ENTRYPOINT"))
    assert json.loads(entry) == ["python", "-m", "kedro", "run"]
    user = next(line.removeprefix("USER ") for line in lines if line.startswith("USER"))
    security = job()["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{security['runAsUser']}:{security['runAsGroup']}"


def test_everything_the_image_copies_is_there_and_in_the_build_context():
    allowed = {
        line.removeprefix("!")
        for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    text = (PROJECT / "k8s/Dockerfile").read_text(encoding="utf-8")
    copied = [source for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M) for source in line.split()[:-1]]
    assert copied
    for source in copied:
        assert (PROJECT / source).exists(), source
        assert source.split("/")[0] in allowed, source
    assert all((PROJECT / name).exists() for name in allowed)


def test_the_image_reads_its_logging_from_a_file_of_the_project():
    text = (PROJECT / "k8s/Dockerfile").read_text(encoding="utf-8")
    [file] = re.findall(r"KEDRO_LOGGING_CONFIG=/app/(\S+)", text)
    assert (PROJECT / file).is_file()
