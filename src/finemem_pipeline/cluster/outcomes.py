"""How jobs ended, one small JSON file each, in a folder or an object store.

A cluster forgets a job some days after its end. Whoever asks later finds it here.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finemem_pipeline.beside import beside
from finemem_pipeline.cluster.seam import Outcome, PodEnd
from finemem_pipeline.cluster.spec import ClusterError


class Outcomes:
    """`url`: a folder, or anything that fsspec knows ("s3://bucket/finemem/outcomes"). None keeps nothing."""

    def __init__(self, url: str | None) -> None:
        self.url = url

    def read(self, namespace: str, name: str) -> Outcome | None:
        if self.url is None:
            return None
        try:
            files, path = self._place(namespace, name)
            with files.open(path, "rb") as file:
                text = file.read()
        except FileNotFoundError:
            return None
        except Exception as fault:  # every kind of store has errors of its own
            raise ClusterError(
                f"Outcomes of jobs cannot be read from {self.url}: {type(fault).__name__}: {fault}"
            ) from fault
        try:
            return decode(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as fault:
            raise ClusterError(
                f"{self.url}/{namespace}/{name}.json is no record of an outcome: {fault}. Remove the file: what the "
                "job has made is found without it."
            ) from fault

    def write(self, outcome: Outcome) -> None:
        if self.url is None:
            return
        text = json.dumps(asdict(outcome), indent=1)
        try:
            files, path = self._place(outcome.namespace, outcome.name)
            if "file" in _protocols(files):
                with beside(Path(path)) as part:
                    part.write_text(text)
            else:  # an object appears whole, once it is closed
                with files.open(path, "wb") as file:
                    file.write(text.encode())
        except Exception as fault:  # every kind of store has errors of its own
            raise ClusterError(
                f"The outcome of {outcome.name} could not be kept in {self.url}: {type(fault).__name__}: {fault}"
            ) from fault

    def _place(self, namespace: str, name: str) -> tuple[Any, str]:
        import fsspec

        files, root = fsspec.core.url_to_fs(self.url)
        return files, f"{root.rstrip('/')}/{namespace}/{name}.json"


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def decode(record: dict[str, Any]) -> Outcome:
    pods = tuple(PodEnd(**pod) for pod in record.pop("pods"))
    tail = tuple(record.pop("log_tail"))
    return Outcome(**record, pods=pods, log_tail=tail)
