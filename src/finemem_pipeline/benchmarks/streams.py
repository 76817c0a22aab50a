"""The three sets of a run, from whatever a loader reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import DataError, unknown

SPLITS = ("train", "dev", "test")
SHARES = (0.8, 0.1, 0.1)

Sets = dict[str, list[Episode]]


def read_sets(source: str, path: Path, *, sources: Sequence[str] = (), limits: Mapping[str, int] | None = None) -> Sets:
    """Train, dev and test of a folder; a single file is divided 80/10/10 by stream, always in the same way.

    `sources` keeps the streams of these sources only; `limits` keeps at most so many per split, spread evenly over
    the sources. Raises DataError with the bad rows of all files together.
    """
    loader = BENCHMARKS[source]
    if path.is_file():
        sets = divide(list(loader(path, "train")), path)
    else:
        sets, faults = {}, []
        for split in SPLITS:
            try:
                sets[split] = list(loader(path, split))
            except DataError as error:
                faults.append(str(error))
        if faults:
            raise DataError("\n".join(faults))
    known = sorted({episode.source for episodes in sets.values() for episode in episodes})
    for name in sources:
        if name not in known:
            raise DataError(unknown("data.sources", name, known, f"source of {path}"))
    return {
        split: limited([e for e in episodes if not sources or e.source in sources], (limits or {}).get(split))
        for split, episodes in sets.items()
    }


def read_set(source: str, path: Path, split: str, sources: Sequence[str] = ()) -> list[Episode]:
    """The streams of one split, of these sources only if any are named. Raises DataError for one that is not there."""
    episodes = list(BENCHMARKS[source](path, split))
    known = sorted({episode.source for episode in episodes})
    for name in sources:
        if name not in known:
            raise DataError(unknown("sources", name, known, f"source of {path}"))
    return [episode for episode in episodes if not sources or episode.source in sources]


def divide(episodes: Sequence[Episode], path: Path) -> Sets:
    """80/10/10, at least one stream each, drawn with a fixed seed."""
    if len(episodes) < len(SPLITS):
        raise DataError(
            f"{path}: {len(episodes)} streams in a single file; train, dev and test need one each. "
            "Give more streams, or a folder with train, dev and test files."
        )
    order = np.random.default_rng(0).permutation(len(episodes))
    held = [max(1, round(share * len(episodes))) for share in SHARES[1:]]
    cuts = np.cumsum([len(episodes) - sum(held), *held])
    parts = np.split(order, cuts[:-1])
    return {split: [episodes[i] for i in sorted(part)] for split, part in zip(SPLITS, parts, strict=True)}


def limited(episodes: list[Episode], most: int | None) -> list[Episode]:
    """At most `most` streams: the first of every source, then the second of every source, and so on."""
    if most is None or len(episodes) <= most:
        return episodes
    seen: dict[str, int] = {}
    ranks = []
    for episode in episodes:
        seen[episode.source] = seen.get(episode.source, 0) + 1
        ranks.append(seen[episode.source])
    chosen = sorted(range(len(episodes)), key=lambda i: (ranks[i], i))[:most]
    return [episodes[i] for i in sorted(chosen)]
