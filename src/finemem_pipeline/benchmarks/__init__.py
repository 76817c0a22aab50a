"""Where streams come from: one file per source, one table.

A loader takes a path and a split and gives out the streams of that split; it raises DataError before the first stream
if the path does not hold what it should.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from finemem_pipeline.benchmarks import planted, realbench
from finemem_pipeline.episodes import Episode


class Loader(Protocol):
    """The streams of one split. Raises DataError if there are none to be had, naming everything that is wrong."""

    def __call__(self, path: str | Path, split: str, /) -> Iterator[Episode]: ...


BENCHMARKS: dict[str, Loader] = {"planted": planted.load, "realbench": realbench.load}

__all__ = ["BENCHMARKS", "Loader"]
