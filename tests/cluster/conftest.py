"""A fake cluster per test, and the smallest jobs for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finemem_pipeline.cluster import JobSpec, KubernetesCluster
from finemem_pipeline.cluster.fake_api import FakeApi


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with FakeApi(tmp_path, installed=("jobset.x-k8s.io", "trainer.kubeflow.org", "kueue.x-k8s.io")) as served:
        served.kubeconfig(tmp_path / "kubeconfig")
        yield served
        print(served.timeline())


@pytest.fixture
def connect(api: FakeApi, tmp_path: Path) -> Iterator[Callable[..., KubernetesCluster]]:
    """Another launcher, with a memory of its own; they share the folder of outcomes."""
    made = []

    def one(patience: float = 60.0, short_patience: float = 60.0) -> KubernetesCluster:
        cluster = KubernetesCluster.connect(
            kubeconfig=tmp_path / "kubeconfig",
            outcomes=str(tmp_path / "outcomes"),
            patience=patience,
            short_patience=short_patience,
            timeout=30.0,
        )
        made.append(cluster)
        return cluster

    yield one
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(connect: Callable[..., KubernetesCluster]) -> KubernetesCluster:
    return connect()


def job(code: str, **changes: object) -> JobSpec:
    """A pod that runs these lines of Python."""
    settings: dict[str, object] = {
        "pipeline": "train",
        "group": "fine_mem",
        "image": "registry.example/finemem@sha256:" + "a" * 64,
        "command": ("-c", code),
        "namespace": "finemem",
        "identity": "one",
        "cpu": "1",
        "memory": "1Gi",
        "grace_seconds": 5,
    }
    return JobSpec(**settings | changes)  # type: ignore[arg-type]


def eventually(true: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)
