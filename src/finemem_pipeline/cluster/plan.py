"""Jobs in a file: what `python -m finemem_pipeline.cluster` reads.

    cluster: {namespace: finemem, outcomes: s3://bucket/finemem/outcomes, backend: job}
    job:                                  # what the jobs share
      image: registry.example/finemem@sha256:...
      gpus: 1
    jobs:
      - {pipeline: train, group: fine_mem, identity: first, command: [-m, kedro, run, --env=k8s]}

`cluster` and `job` have the same form in conf/<env>/runner.yml, which is read first if it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from finemem_pipeline.cluster.spec import Claim, ClusterError, JobSpec, SecretKey
from finemem_pipeline.errors import unknown


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster, and how to treat jobs on it."""

    namespace: str = "finemem"
    context: str | None = None
    kubeconfig: str | None = None
    backend: str = "job"
    outcomes: str | None = None
    """A folder or fsspec URL for records of how jobs ended."""
    patience: float = 900.0
    short_patience: float = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    cluster: ClusterOptions
    jobs: tuple[JobSpec, ...]


def read(path: Path | None, runner: Path | None, namespace: str | None = None) -> Plan:
    """The plan in `path`, on top of the defaults in `runner`; both may be missing. `namespace` goes before theirs."""
    options: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    jobs: list[Mapping[str, Any]] = []
    for file in (runner, path):
        if file is None:
            continue
        found = _load(file)
        options |= _known(file, "cluster", found.get("cluster") or {}, ClusterOptions)
        shared |= found.get("job") or {}
        if file is path:
            extra = sorted(set(found) - {"cluster", "job", "jobs"})
            if extra:
                raise ClusterError(unknown(str(file), extra[0], ("cluster", "job", "jobs"), "section"))
            jobs = found.get("jobs") or []
    cluster = ClusterOptions(**options | ({"namespace": namespace} if namespace else {}))
    return Plan(
        cluster, tuple(job(shared | dict(entry), cluster.namespace, f"{path}: job {n}") for n, entry in enumerate(jobs))
    )


def _load(file: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(file.read_text())
    except FileNotFoundError as fault:
        raise ClusterError(f"There is no file {file}.") from fault
    except yaml.YAMLError as fault:
        raise ClusterError(f"{file} is not YAML: {fault}") from fault
    if not isinstance(found, dict):
        raise ClusterError(f"{file} holds no sections. Known: cluster, job, jobs.")
    return found


def job(entry: Mapping[str, Any], namespace: str, where: str) -> JobSpec:
    """A spec from plain values, as YAML has them."""
    values = _known(None, where, entry, JobSpec)
    missing = sorted({"pipeline", "group", "image", "command", "identity"} - set(values))
    if missing:
        raise ClusterError(f"{where}: {', '.join(missing)} is missing.")
    values["command"] = tuple(str(word) for word in values["command"])
    values["claims"] = tuple(Claim(**claim) for claim in values.get("claims") or ())
    values["secret_env"] = {name: SecretKey(**key) for name, key in (values.get("secret_env") or {}).items()}
    values["env"] = {name: str(value) for name, value in (values.get("env") or {}).items()}
    for name in ("cpu", "memory", "shm"):
        if name in values:
            values[name] = str(values[name])
    for name in ("tolerations", "pull_secrets"):
        if name in values:
            values[name] = tuple(values[name])
    return JobSpec(**{"namespace": namespace} | values)


def _known(file: Path | None, where: str, entry: Mapping[str, Any], form: type[Any]) -> dict[str, Any]:
    names = [field.name for field in fields(form)]
    for name in entry:
        if name not in names:
            raise ClusterError(unknown(f"{file}: {where}" if file else where, name, names, "setting"))
    return dict(entry)
