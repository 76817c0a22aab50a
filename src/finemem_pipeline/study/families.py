"""Kinds of planted streams, each with one difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.episodes import Episode

_PLAIN = PlantedSpec(facts_per_chunk=2, distractors_per_chunk=2, corrections=0.0, two_step=0.0)

FAMILIES: Mapping[str, PlantedSpec] = MappingProxyType(
    {
        "clean": replace(_PLAIN, distractors_per_chunk=0),  # every sentence is asked about
        "distractors": replace(_PLAIN, distractors_per_chunk=6),  # most sentences are not
        "corrections": replace(_PLAIN, corrections=0.5),  # later chunks make facts stale
        "two_step": replace(_PLAIN, two_step=0.3),  # answers that need two chunks
        "redundant": replace(_PLAIN, repeats=0.5),  # facts stated twice: neither statement is missed alone
        "early": replace(_PLAIN, stated_in=0.25),  # written early, used late
    }
)


def streams(family: str, steps: int, seed: int, count: int = 1) -> list[Episode]:
    """`count` streams of a family with T = `steps`, by seed alone."""
    return list(generate(replace(FAMILIES[family], train=count, chunks=steps, seed=seed), "train"))
