"""Finished runs that differ from each other by their seed alone: repetitions of one training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from finemem_pipeline import store
from finemem_pipeline.errors import FinememError


def twin(adapter: Path, seed: int) -> tuple[Path, Path]:
    """The trained weights of the run with that seed, and the folder of the warm start they began from.

    `adapter` holds the trained weights of a run. Raises FinememError if the same training with that seed is not there,
    or not finished to the same update.
    """
    kind = adapter.parent.name.rpartition("-")[0]
    store.fetch_matching(adapter.parent.parent, "config.json")
    wanted = _but_for_the_seed(adapter.parent)
    for folder in sorted(adapter.parent.parent.glob(f"{kind}-*")):
        result = folder / adapter.name
        with suppress(_Unreadable):  # a run of which half was removed is nobody's twin
            config = _config(folder)
            alike = config["training"]["seed"] == seed and _but_for_the_seed(folder) == wanted
            if alike and store.fetch_whole(result):
                return result, folder.parent / config["warm_start"]
    raise FinememError(
        f"evaluation.training_seeds: no finished training with seed {seed} stands beside {adapter}. "
        f"Run it first, with the parameters of that one: kedro run --params=training.seed={seed}"
    )


def _but_for_the_seed(folder: Path) -> dict[str, Any]:
    """What a run was made of, with its warm start written out and without seeds."""
    config = _config(folder)
    warm = _config(folder.parent / config["warm_start"])
    return {**config, "training": {**config["training"], "seed": None}, "warm_start": {**warm, "seed": None}}


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _Unreadable(f"{folder}: config.json cannot be read ({error}).") from error
    return found


class _Unreadable(FinememError):
    """The folder is no run, or only what is left of one."""
