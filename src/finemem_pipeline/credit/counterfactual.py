"""Answers that might have been: what leave_one_out, shapley and tombstone read beside the real ones.

`Rollout.probes` holds them by name, `evidence` being what the reader was given instead of R_j. `reasoning.probes`
collects them, so that no scheme asks a reader.
"""

from __future__ import annotations

from collections.abc import Mapping

from finemem_pipeline.rollouts import Answer, Rollout

Worth = Mapping[tuple[str, frozenset[str]], float | None]
"""(question id, ids of the items shown) -> score; None: that answer failed."""


def probed(rollout: Rollout, name: str) -> tuple[Answer, ...]:
    """The counterfactual answers of that name. Raises ValueError if they were not collected."""
    if name not in rollout.probes:
        raise ValueError(
            f"rollout {rollout.episode_id}/{rollout.sibling} was not probed for '{name}': reasoning.probes collects "
            "these answers, and has to before credit is given"
        )
    return rollout.probes[name]


def worth(rollout: Rollout, name: str) -> Worth:
    """Scores by question and evidence."""
    return {
        (answer.question_id, frozenset(item.id for item in answer.evidence)): answer.score
        for answer in probed(rollout, name)
    }
