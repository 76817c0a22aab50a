"""What the streams of one update came to, read back from the folder of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass

from finemem_pipeline.records import decode_rollout
from finemem_pipeline.rollouts import Rollout, RolloutGroup
from finemem_pipeline.training.runs import Run


@dataclass(frozen=True, slots=True)
class PlayedGroup:
    """Siblings, and what each step of theirs was worth beside the others."""

    group: RolloutGroup
    advantages: tuple[tuple[float, ...], ...]  # (G, T)


def read_update(run: Run, update: int) -> list[PlayedGroup]:
    """The groups of an update, in the order in which they were played."""
    groups: list[list[tuple[Rollout, tuple[float, ...]]]] = []
    with (run.rollouts_folder / f"step-{update:05d}.jsonl").open(encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            rollout = decode_rollout(row["rollout"])
            if rollout.sibling == 0:  # a stream may be played twice in one update
                groups.append([])
            groups[-1].append((rollout, tuple(row["advantages"])))
    return [
        PlayedGroup(
            RolloutGroup(siblings[0][0].episode_id, tuple(rollout for rollout, _ in siblings)),
            tuple(advantages for _, advantages in siblings),
        )
        for siblings in groups
    ]
