"""What one group of pods needs. Nothing here knows what the pods do.

A spec has two hashes. The name of the job ends in a hash of `identity`: the same work has the same name, from whichever
machine it is submitted. The hash of everything that is rendered goes into an annotation, so that a job found under the
name can be told from the one that was asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from finemem_pipeline.errors import FinememError

NAME_LENGTH = 46
"""JobSet refuses names whose pods would have more than 63 characters: `<name>-node-0-<index>-<five letters>`. This
leaves three digits for the index."""

LEAST = {
    "nodes": 1, "processes": 1, "gpus": 0, "user": 1, "grace_seconds": 1, "backoff_limit": 0, "deadline_seconds": 0,
    "ttl_seconds": 0,
}  # fmt: skip

SECRET_WORDS = {"SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIALS", "APIKEY"}


class ClusterError(FinememError):
    """The cluster cannot be reached, or refuses what was asked for."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One key of a Secret in the namespace of the job. Its value is never read here."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A persistent volume claim that exists, and where the pods see it."""

    name: str
    path: str
    sub_path: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """`nodes` pods with one container each, `processes` ranks in each of them.

    Quantities (cpu, memory, shm, scratch) are written as Kubernetes writes them: "4", "500m", "16Gi".
    """

    pipeline: str
    group: str
    image: str
    command: tuple[str, ...]
    """What follows `python`: ("-m", "kedro", "run", ...)."""
    namespace: str
    identity: str
    """What makes the work what it is: code or image digest, configuration, parameters, data revision."""
    project: str = "finemem"

    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, SecretKey] = field(default_factory=dict)
    launch_env: Mapping[str, str] = field(default_factory=dict)
    """What a later launcher would set differently, such as MLFLOW_RUN_ID: no part of the hash of the spec. Whoever
    attaches finds the first launcher's in `Handle.launch_env`."""

    nodes: int = 1
    processes: int = 1
    gpus: int = 0
    """Per node, like cpu and memory."""
    cpu: str = "4"
    memory: str = "16Gi"
    """Request and limit. /dev/shm and nothing else of the volumes counts against it."""
    shm: str = "2Gi"
    scratch: Mapping[str, str] = field(default_factory=lambda: {"/tmp": "10Gi"})
    """Folders that can be written to, and how large they may grow. The root file system cannot."""
    claims: tuple[Claim, ...] = ()

    service_account: str = "default"
    pull_secrets: tuple[str, ...] = ()
    user: int = 10001
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, str], ...] = ()
    """Besides the one for nvidia.com/gpu that every job with GPUs has."""
    priority_class: str = ""
    queue: str = ""
    """A Kueue LocalQueue. The job is created suspended, and Kueue starts it."""
    runtime: str = "torch-distributed"
    """The ClusterTrainingRuntime of a TrainJob."""

    grace_seconds: int = 180
    """Between SIGTERM and SIGKILL: time to write a checkpoint."""
    backoff_limit: int = 3
    """Pods that may fail without the work being at fault. Preemptions do not count."""
    deadline_seconds: int = 7 * 24 * 3600
    """From start to end, time in a queue left out: the last resort against a job that nobody looks at any more. 0 sets
    no limit."""
    ttl_seconds: int = 3 * 24 * 3600
    """How long a finished job can be looked at before the cluster removes it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"job '{self.group}' of pipeline '{self.pipeline}'"
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ClusterError(f"{where}: {name} is {getattr(self, name)}; at least {least} is needed.")
        if not self.image:
            raise ClusterError(f"{where}: no image is named.")
        for variable in (*self.env, *self.launch_env):
            if SECRET_WORDS & set(variable.upper().split("_")):
                raise ClusterError(
                    f"{where}: the variable {variable} looks like a secret, and its value would stand in the manifest "
                    f"for everyone to read. Put it into a Secret and name it under secret_env."
                )

    @property
    def name(self) -> str:
        """`<project>-<pipeline>-<group>-<hash of identity>`: a DNS label that begins with a letter (RFC 1035), which is
        what jobs, pods and services may all be called; the same from any machine."""
        digest = hashlib.sha256(
            "\0".join((self.project, self.pipeline, self.group, self.identity)).encode()
        ).hexdigest()[:8]
        words = re.sub(r"[^a-z0-9]+", "-", f"{self.project}-{self.pipeline}-{self.group}".lower()).strip("-")
        words = words if words[:1].isalpha() else f"job-{words}"
        return f"{words[: NAME_LENGTH - len(digest) - 1].strip('-')}-{digest}"
