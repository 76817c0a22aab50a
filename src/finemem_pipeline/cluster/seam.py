"""What a launcher may ask of a cluster, and what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from finemem_pipeline.cluster.spec import JobSpec

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person who waits wants to know, once."""

    kind: Literal["queued", "pending", "running", "stuck", "warning", "preempted", "restarted", "connection", "ended"]
    text: str
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class PodEnd:
    """How the container of one pod ended."""

    pod: str
    rank: int
    """Of the node, 0..nodes-1."""
    node: str
    exit_code: int | None
    """None: the container never ran, or was not seen to end."""
    reason: str
    """Completed, Error, OOMKilled, Evicted, DeadlineExceeded, ..."""
    preempted: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. Written down before the cluster forgets the job."""

    name: str
    namespace: str
    status: Literal["succeeded", "failed", "stuck", "cancelled"]
    """stuck: its pods could not start within the patience of whoever waited, and the job was deleted."""
    reason: str
    message: str
    uid: str
    """Of the job that ended: a job of the same name that was started again has another."""
    spec_hash: str
    image: str
    """As the nodes ran it, by digest where that is known."""
    started: str | None = None
    """ISO 8601, as the cluster states it."""
    finished: str | None = None
    pods: tuple[PodEnd, ...] = ()
    guilty: str = ""
    """The pod that made the job fail."""
    log_tail: tuple[str, ...] = ()
    """The last lines of the guilty pod."""
    preemptions: int = 0

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"


@dataclass(frozen=True, slots=True)
class Handle:
    """A job that is on the cluster, or was."""

    name: str
    namespace: str
    kind: str
    """Job, JobSet or TrainJob."""
    uid: str
    spec_hash: str
    created: bool = False
    """By this submit; otherwise it was there, and this is an attachment."""
    launch_env: Mapping[str, str] = field(default_factory=dict)
    """As it was given by the launcher that created the job."""
    outcome: Outcome | None = None
    """Known already: the job is over."""


@dataclass(frozen=True, slots=True)
class Status:
    """One line of a table of jobs."""

    name: str
    namespace: str
    kind: str
    state: str
    """queued, paused, pending, stuck, running, finishing, succeeded, failed."""
    detail: str
    """Why, where there is something to say."""
    pods: str
    """Running pods of all, "1/2"."""
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check-up."""

    level: Literal["ok", "warning", "error"]
    text: str
    """What was found and, unless it is ok, what to do."""


class Cluster(Protocol):
    """Jobs on a cluster. Every method raises ClusterError with a message that a person can act upon."""

    def check(self, namespace: str, specs: Sequence[JobSpec] = (), backend: str = "job") -> list[Finding]:
        """What stands in the way of running these jobs: rights, quota, queue, claims, secrets, admission. Nothing is
        created."""

    def submit(self, manifests: Sequence[Manifest]) -> Handle:
        """Create what `render` gave, or attach to what is there already.

        The same manifests may be submitted again, by anyone. A job of this name with another spec is an error that
        says what differs. A job that has failed or was cancelled is removed and started again; one that succeeded, or
        is recorded as such, is returned with its outcome.
        """

    def find(self, name: str, namespace: str) -> Handle:
        """The handle of a job that somebody submitted; with its outcome if it is over, on the cluster or recorded."""

    def wait(
        self,
        handle: Handle,
        on_notice: Callable[[Notice], None] | None = None,
        leave: threading.Event | None = None,
    ) -> Outcome | None:
        """Until the job is over and its outcome is recorded. None if `leave` was set before: the job goes on."""

    def logs(
        self,
        handle: Handle,
        follow: bool = False,
        ranks: Collection[int] | None = (0,),
        tail: int | None = None,
        leave: threading.Event | None = None,
    ) -> Iterator[tuple[int, str]]:
        """(rank of the node, line), oldest first per rank; None means all ranks. `follow` ends when the job does."""

    def delete(self, handle: Handle) -> Outcome:
        """Remove the job, its pods and its Service; returns when they are gone, with the recorded outcome."""

    def status(self, namespace: str, project: str = "finemem") -> list[Status]:
        """The jobs of a project, newest first."""
