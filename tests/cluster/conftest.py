"""A fake cluster per test, and the smallest jobs for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def job() -> Callable[..., JobSpec]:
    """Of a pod that runs some lines of Python: job(code, **fields)."""

    def one(code: str = "pass", **changes: object) -> JobSpec:
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

    return one


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        mark = item.get_closest_marker("scenario")
        if mark is not None:
            parameters = item.name.partition("[")[2].rstrip("]")
            item.user_properties.append(("scenario", mark.args[0].format(id=parameters)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line per scenario."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            names = [value for name, value in getattr(report, "user_properties", ()) if name == "scenario"]
            if names and report.when == "call":
                terminalreporter.write_line(f"{outcome:7} {report.duration:6.1f} s  {names[0]}")
