"""Credit maps of a child: of what it played while it learned, and of what it played in the end."""

from __future__ import annotations

from typing import Any

from finemem_pipeline.config import Child
from finemem_pipeline.episodes import Episode
from finemem_pipeline.reasoning.probes import Sample, probe
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reporting.credit_map import credit_map
from finemem_pipeline.rewards import Variant, score_group, score_rollout
from finemem_pipeline.rollouts import Rollout, RolloutGroup
from finemem_pipeline.training.played import PlayedGroup

HELD_OUT = "held out"

Record = dict[str, Any]


def of_update(child: Child, variant: Variant, update: int, episode: Episode, played: PlayedGroup) -> list[Record]:
    """Every sibling, with the advantages that it was trained on."""
    score = score_group(played.group, variant)
    maps = []
    for rollout, earned, advantages in zip(played.group.rollouts, score.breakdowns, played.advantages, strict=True):
        terms = {"total": earned.total, "advantage": advantages, **earned.terms}
        maps.append(_map(child, f"update {update}", episode, rollout, terms, earned.weights))
    return maps


def of_held_out(
    child: Child, variant: Variant, episode: Episode, rollout: Rollout, reader: Reader, sample: Sample
) -> Record:
    """What the variant would have paid; the probes that it reads are asked for."""
    alone = RolloutGroup(rollout.episode_id, (rollout,))
    [group] = probe([alone], [episode], reader, variant.probes, sample)
    earned = score_rollout(group.rollouts[0], variant)
    return _map(child, HELD_OUT, episode, rollout, {"total": earned.total, **earned.terms}, earned.weights)


def _map(child: Child, played: str, episode: Episode, rollout: Rollout, terms: Any, weights: Any) -> Record:
    return {"seed": child.seed, "played": played, **credit_map(child.variant, episode, rollout, terms, weights)}
