"""Every pod of every overlay, against the restricted profile and what else a pod of this project keeps to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest


def deployments(site: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in site if each["kind"] == "Deployment"}


def pods(site: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    return {name: each["spec"]["template"]["spec"] for name, each in deployments(site).items()}


def test_the_namespace_enforces_the_restricted_profile(site):
    [namespace] = [each for each in site if each["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_pod_meets_it(site, overlay, faults):
    servers = {"reasoner", "rollouts"} if overlay not in ("dev", "gpu-1") else set()
    assert set(pods(site)) == {"launcher", "mlflow", *servers}
    for name, pod in pods(site).items():
        assert not list(faults(pod)), name


def spoiled(pod: dict[str, Any], change: Callable[[dict[str, Any], dict[str, Any]], object]) -> dict[str, Any]:
    pod = copy.deepcopy(pod)
    change(pod, pod["containers"][0]["securityContext"])
    return pod


@pytest.mark.parametrize(
    "change",
    [
        lambda pod, own: pod.update(hostNetwork=True),
        lambda pod, own: pod["volumes"].append({"name": "node", "hostPath": {"path": "/"}}),
        lambda pod, own: pod["securityContext"].pop("seccompProfile"),
        lambda pod, own: pod["securityContext"].pop("runAsNonRoot"),
        lambda pod, own: pod["securityContext"].update(runAsUser=0),
        lambda pod, own: own.pop("allowPrivilegeEscalation"),
        lambda pod, own: own["capabilities"].update(add=["IPC_LOCK"]),
        lambda pod, own: own.update(readOnlyRootFilesystem=False),
        lambda pod, own: pod.update(initContainers=[{"name": "first", "image": "busybox"}]),
    ],
)
def test_a_pod_that_does_not_would_be_found(sites, change, faults):
    assert list(faults(spoiled(pods(sites["dev"])["mlflow"], change)))


def test_only_the_launcher_gets_a_token_of_the_api_server(site):
    for account in [each for each in site if each["kind"] == "ServiceAccount"]:
        assert account["automountServiceAccountToken"] is False
    for name, pod in pods(site).items():
        assert pod["automountServiceAccountToken"] is (name == "launcher")
        assert (pod["serviceAccountName"] == "finemem-launcher") is (name == "launcher")


def test_no_variable_of_a_service_reaches_a_pod(site):
    """The Service mlflow would set MLFLOW_PORT=tcp://…, and `mlflow server` reads its port from there."""
    assert all(pod["enableServiceLinks"] is False for pod in pods(site).values())


def test_every_folder_that_is_written_to_is_a_volume_with_a_bound(site):
    for pod in pods(site).values():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert "/tmp" in mounts
            assert set(mounts.values()) <= set(volumes)
        for volume in volumes.values():
            assert volume.get("emptyDir", {"sizeLimit": "n/a"}).get("sizeLimit"), volume


def test_gpus_are_asked_for_as_text_and_their_taint_is_tolerated(site, overlay):
    for name, pod in pods(site).items():
        gpus = [container["resources"]["limits"].get("nvidia.com/gpu") for container in pod["containers"]]
        assert gpus == {"reasoner": ["2"], "rollouts": ["1"]}.get(name, [None])
        tolerated = pod.get("tolerations") == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert tolerated is (name in ("reasoner", "rollouts") or overlay == "gpu-1")  # gpu-1: there is no other node


def test_no_rollout_needs_room_for_a_second_pod(site):
    """Volumes that one node mounts, GPUs that are all taken, and a quota without a margin."""
    assert {each["spec"]["strategy"]["type"] for each in deployments(site).values()} == {"Recreate"}


def test_selectors_find_the_pods_of_their_deployment_and_services_find_their_port(site):
    found = deployments(site)
    for each in found.values():
        wanted, has = each["spec"]["selector"]["matchLabels"], each["spec"]["template"]["metadata"]["labels"]
        assert wanted.items() <= has.items()
    for service in [each for each in site if each["kind"] == "Service"]:
        [pod] = [
            each["spec"]["template"]
            for each in found.values()
            if service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert [ports[port["targetPort"]] for port in service["spec"]["ports"]] == [
            port["port"] for port in service["spec"]["ports"]
        ]
