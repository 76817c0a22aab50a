"""Where streams come from: one file per source, one table.

A loader takes a path and a split and gives out the streams of that split; it raises DataError before the first stream
if the path does not hold what it should. Its finder names the files it would read. The path may be a folder, a file or
a data set of the Hugging Face hub (hub.py), but for `planted` and `realbench`, which are at home here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from finemem_pipeline.benchmarks import locomo, memalpha, memoryagentbench, planted, realbench
from finemem_pipeline.episodes import Episode


class Loader(Protocol):
    """The streams of one split. Raises DataError if there are none to be had, naming everything that is wrong."""

    def __call__(self, path: str | Path, split: str, /) -> Iterator[Episode]: ...


class Finder(Protocol):
    """The files that hold a split, at least one. Raises DataError naming what was looked for and what is there."""

    def __call__(self, path: str | Path, split: str, /) -> list[Path]: ...


BENCHMARKS: dict[str, Loader] = {
    "planted": planted.load,
    "realbench": realbench.load,
    "memalpha": memalpha.load,
    "memoryagentbench": memoryagentbench.load,
    "locomo": locomo.load,
}

FINDERS: dict[str, Finder] = {
    "planted": realbench.find,
    "realbench": realbench.find,
    "memalpha": memalpha.find,
    "memoryagentbench": memoryagentbench.find,
    "locomo": locomo.find,
}

__all__ = ["BENCHMARKS", "FINDERS", "Finder", "Loader"]
