"""A Kubernetes API server for tests and demonstrations, on loopback, whose pods are processes of this machine.

    with FakeApi() as api:
        api.kubeconfig(path)                      # point a client at it
        api.play("*", Scenario())                 # what becomes of jobs whose name matches
        ...
        print(api.timeline())

It keeps Jobs, Pods, Services, Events and custom objects, speaks list, watch and log as the real one does (uid,
resourceVersion, 409, 410, 422, selectors, propagation of deletes), and a small job controller starts a process per pod.
`python -m finemem_pipeline.cluster.fake_api KUBECONFIG` serves until interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens to a job, besides its processes being run. The default: nothing."""

    queued: float = 0.0
    """Seconds that a suspended job waits for admission."""
    refused: str = ""
    """Pods are not created; every attempt leaves a FailedCreate event with this message."""
    unschedulable: str = ""
    """Pods stay Pending with this message of the scheduler."""
    waiting: str = ""
    """The container stays in this waiting state: ImagePullBackOff, CreateContainerConfigError, ..."""
    mount: str = ""
    """Pods stay in ContainerCreating with a FailedMount event of this message."""
    clears_after: float | None = None
    """Seconds until what hinders the pods is mended; None: never."""
    kill_after: float | None = None
    """Seconds after which a rank is killed once: see `kill`."""
    kill: str = "OOMKilled"
    """OOMKilled: SIGKILL. Preempted: SIGTERM, then SIGKILL after the grace, condition DisruptionTarget."""
    kill_rank: int = 0
    times: int = 1
    """How many pods of that rank meet this end."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the processes."""


class FakeApi:
    """Serves on a free port of 127.0.0.1 from `start` to `stop`; the objects outlive a stop."""

    url: str

    def __init__(self, root: Path, namespaces: Sequence[str] = ("finemem",)) -> None:
        """`root` is where the processes run and their logs lie."""

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        raise NotImplementedError

    def play(self, name: str, scenario: Scenario) -> None:
        """For jobs whose name matches this pattern (fnmatch), from now on."""
        raise NotImplementedError

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """A copy of all objects of a kind: Job, Pod, Service, Event, ..."""
        raise NotImplementedError

    def down(self, seconds: float) -> None:
        """Refuse connections for a while and drop the open ones."""
        raise NotImplementedError

    def fail(self, times: int, code: int = 500) -> None:
        """Answer the next requests with this code."""
        raise NotImplementedError

    def forget(self) -> None:
        """Answer every watch that continues from before now with 410 Gone."""
        raise NotImplementedError

    def timeline(self) -> str:
        """What happened when: requests that changed something, phases of pods, conditions of jobs."""
        raise NotImplementedError
