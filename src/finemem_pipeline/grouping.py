"""Which nodes run together in a pod, in what order, and what passes between them.

A top-level namespace is a group: its nodes run in one pod (or in several that work as one). A node without a namespace
stays with the launcher.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import fsspec
from kedro.io import CatalogProtocol, DatasetError
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import BaseModel

from finemem_pipeline.errors import FinememError
from finemem_pipeline.training.runs import digest

LAUNCHER = "the launcher"
PARAMETERS = "FINEMEM_PARAMETERS"
"""Environment variable of every process in a pod: the digest of the parameters that the launcher read for its nodes."""


class GroupingError(FinememError):
    """The pipeline cannot be divided into groups, or data cannot pass between them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that run together."""

    name: str
    nodes: tuple[str, ...]  # in the order of the pipeline
    after: frozenset[str]  # names of the groups that it waits for
    in_pod: bool  # a namespace; else a single node of the launcher


def groups(pipeline: Pipeline) -> dict[str, Group]:
    """The groups by name, each after those it waits for. Raises GroupingError if some wait for each other."""
    found = {
        each.name: Group(each.name, tuple(each.nodes), frozenset(each.dependencies), each.type == "namespace")
        for each in pipeline.group_nodes_by("namespace")
    }
    try:
        order = list(TopologicalSorter({name: sorted(group.after) for name, group in found.items()}).static_order())
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        ways = [_way(pipeline, found[one], found[other]) for one, other in zip(circle[1:], circle, strict=False)]
        raise GroupingError(
            "Groups wait for each other, so none of them can begin: "
            + "; ".join(ways)
            + ". Nodes of one namespace run in one pod, from its first to its last: give one of these nodes another "
            "namespace, or all of them the same."
        ) from error
    return {name: found[name] for name in order}


def _way(pipeline: Pipeline, reader: Group, writer: Group) -> str:
    written = {name: node for node in _nodes(pipeline, writer.nodes) for name in node.outputs}
    for node in _nodes(pipeline, reader.nodes):
        for name in node.inputs:
            if name in written:
                return f"{reader.name} needs '{name}' of {writer.name} ({written[name].name} -> {node.name})"
    return f"{reader.name} needs {writer.name}"


def _nodes(pipeline: Pipeline, names: Iterable[str]) -> list[Node]:
    return list(pipeline.only_nodes(*names).nodes)


@dataclass(frozen=True, slots=True)
class Crossing:
    """Data that one process writes and another one reads."""

    name: str
    writer: str | None  # None: there before the run
    reader: str | None  # None: nobody in this run

    def __str__(self) -> str:
        return f"{self.writer or 'there before the run'} -> {self.reader or 'kept for later'}"


def crossings(pipeline: Pipeline) -> Iterator[Crossing]:
    """What enters or leaves a pod: for each data set the first pair of nodes between which it passes."""
    homes = {
        name: group.name if group.in_pod else LAUNCHER for group in groups(pipeline).values() for name in group.nodes
    }
    writers = {name: node.name for node in pipeline.nodes for name in node.outputs}
    seen = set()
    for node in pipeline.nodes:
        for name in node.inputs:
            writer = writers.get(name)
            here, there = homes[node.name], homes.get(writer or "")
            if name not in seen and not is_parameter(name) and here != there and (here, there) != (LAUNCHER, None):
                seen.add(name)
                yield Crossing(name, writer, node.name)
    for name in sorted(pipeline.outputs()):
        if homes[writers[name]] != LAUNCHER:
            yield Crossing(name, writers[name], None)


def stuck_data(pipeline: Pipeline, catalog: CatalogProtocol, volume: Path | None) -> list[str]:
    """A sentence for each data set that cannot enter or leave a pod, with what to do about it.

    `volume` is the folder that launcher and pods share, None where they share none.
    """
    faults = []
    for crossing in crossings(pipeline):
        dataset = _dataset(catalog, crossing.name)
        where = f"'{crossing.name}' ({crossing})"
        if dataset._EPHEMERAL:
            faults.append(
                f"{where} is kept in memory, which ends with the pod. Give it an entry in the catalog, or put both "
                "nodes into one namespace."
            )
            continue
        path = location(dataset)
        if path is not None and path.startswith("memory://"):
            faults.append(f"{where} is at {path}, which ends with the process. Give it a place in an object store.")
        elif path is not None and not reaches_pods(path, volume):
            shared = f"the shared volume {volume}" if volume is not None else "no shared volume is configured"
            faults.append(
                f"{where} is at {path}, on this machine alone ({shared}). Set the base path of conf/<env>/globals.yml "
                "to an object store or to a folder of the volume, and name that volume in runner.yml."
            )
    return faults


def location(dataset: Any) -> str | None:
    """Where a data set keeps its file: a path or a URL; None for one that keeps none, such as a table of a server."""
    told = dataset._describe()
    path = told.get("filepath") or told.get("path")
    if path is None:
        return None
    protocol = str(told.get("protocol") or "file")
    return str(path) if "://" in str(path) or protocol in ("file", "local") else f"{protocol}://{path}"


def reaches_pods(path: str, volume: Path | None) -> bool:
    """Whether a launcher and a pod find the same thing there."""
    if "://" in path:
        return not path.startswith("file://")
    return volume is not None and Path(path).resolve().is_relative_to(volume.resolve())


def parameters_digest(pipeline: Pipeline, catalog: CatalogProtocol) -> str:
    """Digest of the parameters that these nodes read."""
    return digest(
        {name: _plain(_dataset(catalog, name).load()) for name in sorted(pipeline.inputs()) if is_parameter(name)}
    )


def inputs_digest(pipeline: Pipeline, catalog: CatalogProtocol) -> str:
    """Digest of the files that these nodes read and do not write."""
    found = {}
    for name in sorted(pipeline.inputs()):
        path = None if is_parameter(name) else location(_dataset(catalog, name))
        if path is not None:
            found[name] = _file_digest(path, _changed(path)) if is_there(catalog, name) else None
    return digest(found)


def written(pipeline: Pipeline, catalog: CatalogProtocol) -> list[datetime | None]:
    """When each file that these nodes write was written last; None for one that is not there."""
    places = {name: location(_dataset(catalog, name)) for name in pipeline.all_outputs()}
    return [
        _changed(path) if is_there(catalog, name) else None for name, path in sorted(places.items()) if path is not None
    ]


def is_there(catalog: CatalogProtocol, name: str) -> bool:
    """Whether the file of a data set is. Raises GroupingError where its place cannot be asked."""
    try:
        return bool(catalog.exists(name))
    except DatasetError as error:
        raise GroupingError(str(error.__cause__ or error).splitlines()[-1]) from error


def _changed(path: str) -> datetime:
    files, place = fsspec.core.url_to_fs(path)
    at: datetime = files.modified(place)
    return at


@cache
def _file_digest(path: str, changed: datetime) -> str:
    """A thousand jobs that read the same streams read them once for this."""
    with fsspec.open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _dataset(catalog: CatalogProtocol, name: str) -> Any:
    return catalog.get(name, fallback_to_runtime_pattern=True)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return value
