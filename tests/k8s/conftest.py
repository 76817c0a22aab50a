"""What `kubectl kustomize` makes of every overlay, rendered once, and what the restricted profile says of a pod."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
OVERLAYS = sorted(folder.name for folder in (PROJECT / "k8s" / "overlays").iterdir())


@cache
def build(folder: str) -> tuple[dict[str, Any], ...]:
    """Every object of a folder below k8s, as `kubectl apply --kustomize` would send it."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, and only it renders kustomizations")
    done = subprocess.run(
        ["kubectl", "kustomize", str(PROJECT / "k8s" / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a warning, of something deprecated say
    return tuple(yaml.safe_load_all(done.stdout))


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(overlay: str) -> tuple[dict[str, Any], ...]:
    return build(f"overlays/{overlay}")


@pytest.fixture(scope="session")
def sites() -> dict[str, tuple[dict[str, Any], ...]]:
    return {name: build(f"overlays/{name}") for name in OVERLAYS}


ALLOWED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"], *pod.get("ephemeralContainers", ())]


def pod_faults(pod: dict[str, Any]) -> Iterator[str]:
    """What the Pod Security Standard `restricted` would refuse of a pod, and a root file system that can be written."""
    whole = pod.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    if whole.get("sysctls"):
        yield "sysctls"
    for volume in pod.get("volumes", ()):
        if not (set(volume) - {"name"}) <= ALLOWED_VOLUMES:
            yield f"volume {volume['name']}"
    for container in containers(pod):
        own = {**whole, **container.get("securityContext", {})}
        yield from (f"{container['name']}: {fault}" for fault in container_faults(own))
        if any(port.get("hostPort") for port in container.get("ports", ())):
            yield f"{container['name']}: hostPort"


def container_faults(own: dict[str, Any]) -> Iterator[str]:
    """Of its security context, what the pod says included."""
    if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
        yield "privileges"
    if own.get("capabilities") != {"drop": ["ALL"]}:
        yield "capabilities"
    if own.get("runAsNonRoot") is not True or not own.get("runAsUser"):
        yield "may be root"
    if own.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccomp"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if not own.get("readOnlyRootFilesystem"):
        yield "root file system"


@pytest.fixture(scope="session")
def faults() -> Callable[[dict[str, Any]], Iterator[str]]:
    return pod_faults
