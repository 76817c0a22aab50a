"""Jobs in a file: what `python -m finemem_pipeline.cluster` reads.

    cluster: {namespace: finemem, outcomes: s3://bucket/finemem/outcomes, backend: job}     # ClusterOptions
    job:                                  # JobSpec; what the jobs share
      image: registry.example/finemem@sha256:...
      gpus: 1
    jobs:
      - {pipeline: train, group: fine_mem, identity: first, command: [-m, kedro, run, --env=k8s]}

What `cluster` leaves out is taken from conf/<env>/runner.yml, so that jobs of `kedro run` are found without a plan.
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


def read(path: Path | None, conf: Path | None, namespace: str | None = None) -> Plan:
    """The plan in `path`, on top of what the folder `conf` says of the cluster; either may be None. `namespace` goes
    before theirs."""
    options = {} if conf is None else _runner(conf)
    found = {} if path is None else _load(path)
    for section in found:
        if section not in SECTIONS:
            raise ClusterError(unknown(str(path), section, SECTIONS, "section"))
    options |= _known(f"{path}: cluster", found.get("cluster") or {}, ClusterOptions)
    cluster = ClusterOptions(**options | ({"namespace": namespace} if namespace else {}))
    shared = found.get("job") or {}
    jobs = found.get("jobs") or ()
    return Plan(
        cluster, tuple(job({**shared, **one}, cluster.namespace, f"{path}: job {n}") for n, one in enumerate(jobs))
    )


SECTIONS = ("cluster", "job", "jobs")


def _runner(conf: Path) -> dict[str, Any]:
    """From runner.yml; where it does not say where outcomes are kept, they are with the data of globals.yml."""
    runner = _load(conf / "runner.yml") if (conf / "runner.yml").is_file() else {}
    names = [field.name for field in fields(ClusterOptions)]
    options = {name: value for name, value in runner.items() if name in names and value is not None}
    if "outcomes" not in options:
        for file in (conf / "globals.yml", conf.parent / "base" / "globals.yml"):
            if file.is_file() and "data" in (found := _load(file)):
                return options | {"outcomes": f"{found['data'].rstrip('/')}/08_reporting/jobs"}
    return options


def _load(file: Path) -> dict[str, Any]:
    """With ${oc.env:NAME,default} filled in, as in the other files of conf."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        found = OmegaConf.to_container(OmegaConf.create(file.read_text()), resolve=True)
    except FileNotFoundError as fault:
        raise ClusterError(f"There is no file {file}.") from fault
    except (yaml.YAMLError, OmegaConfBaseException) as fault:
        raise ClusterError(f"{file} cannot be read: {fault}") from fault
    if not isinstance(found, dict):
        raise ClusterError(f"{file} holds no sections.")
    return {str(name): value for name, value in found.items()}


def job(entry: Mapping[str, Any], namespace: str, where: str) -> JobSpec:
    """A spec from plain values, as YAML has them."""
    values = _known(where, entry, JobSpec)
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


def _known(where: str, entry: Mapping[str, Any], form: type[Any]) -> dict[str, Any]:
    names = [field.name for field in fields(form)]
    for name in entry:
        if name not in names:
            raise ClusterError(unknown(where, name, names, "setting"))
    return dict(entry)
