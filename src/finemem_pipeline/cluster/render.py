"""From a spec to the manifests of one of the backends."""

from __future__ import annotations

from collections.abc import Callable

from finemem_pipeline.cluster.seam import Manifest
from finemem_pipeline.cluster.spec import JobSpec

BACKENDS: dict[str, Callable[[JobSpec], list[Manifest]]] = {}


def render(spec: JobSpec, backend: str = "job") -> list[Manifest]:
    """The job first, then what belongs to it."""
    raise NotImplementedError
