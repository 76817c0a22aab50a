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

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from finemem_pipeline.cluster.spec import ClusterError, JobSpec
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
    options |= _given(_section(path, found, "cluster", {}))
    options |= {"namespace": namespace} if namespace else {}
    cluster = _made(f"{path}: cluster", options, ClusterOptions)
    shared = _section(path, found, "job", {})
    jobs = _section(path, found, "jobs", [])
    return Plan(
        cluster, tuple(job(one, cluster.namespace, f"{path}: job {number}", shared) for number, one in enumerate(jobs))
    )


SECTIONS = ("cluster", "job", "jobs")


def _section(path: Path | None, found: Mapping[str, Any], name: str, empty: Any) -> Any:
    value = found.get(name)
    if value is None:
        return empty
    if not isinstance(value, type(empty)):
        raise ClusterError(f"{path}: {name}: expected {WORDS[type(empty)]}, found {value!r}.")
    return value


def _runner(conf: Path) -> dict[str, Any]:
    """From runner.yml; where it does not say where outcomes are kept, they are with the data of globals.yml."""
    runner = _load(conf / "runner.yml") if (conf / "runner.yml").is_file() else {}
    names = [field.name for field in fields(ClusterOptions)]
    options = _given({name: value for name, value in runner.items() if name in names})
    _made(str(conf / "runner.yml"), options, ClusterOptions)
    if "outcomes" not in options:
        for file in (conf / "globals.yml", conf.parent / "base" / "globals.yml"):
            if file.is_file() and (data := _load(file).get("data")):
                return options | {"outcomes": f"{str(data).rstrip('/')}/08_reporting/jobs"}
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
    except OSError as fault:
        raise ClusterError(f"{file} cannot be read: {fault.strerror}.") from fault
    except (UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as fault:
        raise ClusterError(f"{file} cannot be read: {fault}") from fault
    if not isinstance(found, dict):
        raise ClusterError(f"{file} holds no sections.")
    return {str(name): value for name, value in found.items()}


def job(entry: object, namespace: str, where: str, shared: Mapping[str, Any] | None = None) -> JobSpec:
    """A spec from plain values, as YAML has them, on top of what it shares with others."""
    if not isinstance(entry, dict):
        raise ClusterError(f"{where}: expected {WORDS[dict]}, found {entry!r}.")
    spec: JobSpec = _made(where, {"namespace": namespace} | _given(shared or {}) | _given(entry), JobSpec)
    return spec


WORDS: dict[Any, str] = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "settings (name: value)",
    list: "a list",
}  # fmt: skip


def _given(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Null leaves a setting out."""
    return {name: value for name, value in entry.items() if value is not None}


def _made(where: str, entry: Mapping[str, Any], form: type[Any]) -> Any:
    """A dataclass from plain values. Raises ClusterError naming the field that does not fit."""
    hints = get_type_hints(form)
    needed = {field.name for field in fields(form) if field.default is MISSING and field.default_factory is MISSING}
    for name in entry:
        if name not in hints:
            raise ClusterError(unknown(where, str(name), hints, "setting"))
    given = _given(entry)
    if missing := sorted(needed - set(given)):
        raise ClusterError(f"{where}: {', '.join(missing)} is missing.")
    return form(**{name: _fit(f"{where}: {name}", value, hints[name]) for name, value in given.items()})


def _fit(where: str, value: Any, hint: Any) -> Any:
    """The value as the type of a field wants it; a number is a text too, as in `cpu: 4`."""
    if get_origin(hint) is types.UnionType:  # of something and None
        hint = get_args(hint)[0]
    form = {tuple: list, Mapping: dict}.get(get_origin(hint) or hint, hint)
    if is_dataclass(form):
        if isinstance(value, dict):
            return _made(where, value, hint)
        form = dict
    elif form is list and isinstance(value, list):
        return tuple(_fit(f"{where}[{number}]", each, get_args(hint)[0]) for number, each in enumerate(value))
    elif form is dict and isinstance(value, dict):
        return {str(name): _fit(f"{where}.{name}", each, get_args(hint)[1]) for name, each in value.items()}
    elif isinstance(value, bool) is (form is bool) and isinstance(value, (int, float, str) if form is str else form):
        return str(value) if form is str else value
    elif form is float and type(value) is int:
        return float(value)
    raise ClusterError(f"{where}: expected {WORDS[form]}, found {value!r}.")
