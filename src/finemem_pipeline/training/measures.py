"""What is logged of every update: pure functions of the records and their scores."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from finemem_pipeline.episodes import Episode
from finemem_pipeline.memory import Delete, Insert, Skip, Update
from finemem_pipeline.rewards import GroupScore, variance_shares
from finemem_pipeline.rollouts import RolloutGroup
from finemem_pipeline.training.samples import StepSample

_KINDS = {Insert: "insert", Update: "update", Delete: "delete", Skip: "skip"}


def _mean(values: Sequence[float]) -> float | None:
    """Mean of the numbers among the values; None if there is none."""
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    return float(np.mean(numbers)) if numbers else None


def step_measures(
    groups: Sequence[RolloutGroup], scores: Sequence[GroupScore], seconds: Mapping[str, float]
) -> dict[str, float | None]:
    """The numbers of one update, by the names of the metric log. None where there is nothing to average."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    steps = [step for rollout in rollouts for step in rollout.steps]
    kinds = Counter(_KINDS[type(done.operation)] for step in steps for done in step.operations)
    refused = sum(done.refused is not None for step in steps for done in step.operations)
    malformed = sum(len(step.malformed) for step in steps)
    written = sum(kinds.values())
    lengths = [len(step.completion.completion_ids) for step in steps]
    finals = [answer.score for rollout in rollouts for answer in rollout.answers]
    chunk_answers = [answer.score for step in steps for answer in step.answers]
    probes = [rollout.probes for rollout in rollouts] + [step.probes for step in steps]
    probed = [answer.score for found in probes for answers in found.values() for answer in answers]
    measures: dict[str, float | None] = {
        "outcome": _mean([score for score in finals if score is not None]),
        "chunk_accuracy": _mean([score for score in chunk_answers if score is not None]),
        "reward/total": _mean([value for score in scores for value in score.rewards.ravel()]),
        "groups/columns": float(sum(score.rewards.shape[1] for score in scores)),
        "groups/dead_columns": float(sum(score.dead_columns for score in scores)),
        "groups/excluded": float(sum(score.excluded for score in scores)),
        "groups/dropped": float(sum(score.dropped is not None for score in scores)),
        "operations/refused_share": refused / written if written else None,
        "operations/malformed_share": malformed / (written + malformed) if written + malformed else None,
        "memory/tokens": _mean([float(rollout.final_tokens) for rollout in rollouts]),
        "memory/share_of_text": _mean([rollout.final_tokens / rollout.tokens_read for rollout in rollouts]),
        "completion/length": _mean([float(length) for length in lengths]),
        "completion/cut_share": _mean([float(step.completion.finish == "length") for step in steps]),
        "reader/unscored": float(sum(score is None for score in [*finals, *chunk_answers, *probed])),
    }
    for kind in _KINDS.values():
        measures[f"operations/{kind}"] = kinds[kind] / len(steps) if steps else None
    shares = variance_shares(scores)
    for name in dict.fromkeys(name for score in scores for parts in score.breakdowns for name in parts.terms):
        measures[f"reward/{name}"] = _mean(
            [value for score in scores for parts in score.breakdowns for value in parts.terms[name]]
        )
        measures[f"share/{name}"] = shares.get(name)
    tokens = sum(len(step.completion.prompt_ids) + len(step.completion.completion_ids) for step in steps)
    measures["tokens"] = float(tokens)
    measures["tokens_said"] = float(sum(lengths))
    for phase, spent in seconds.items():
        measures[f"seconds/{phase}"] = spent
    return measures


def copied_share(groups: Sequence[RolloutGroup], episodes: Mapping[str, Episode]) -> float | None:
    """Of the words of the chunks, the share that the step which read them wrote into the memory.

    Words are counted as often as they occur, in INSERTs and UPDATEs that were not refused. None where nothing was read.
    """
    read = copied = 0
    for group in groups:
        for t, chunk in enumerate(episodes[group.episode_id].chunks):
            words = _words([chunk.text])
            read += words.total() * len(group.rollouts)
            for rollout in group.rollouts:
                taken = [
                    done.operation.text
                    for done in rollout.steps[t].operations
                    if isinstance(done.operation, Insert | Update) and done.refused is None
                ]
                copied += (words & _words(taken)).total()
    return copied / read if read else None


def learned_tokens(rows: Sequence[StepSample], *, every: bool) -> int:
    """Prompt and completion tokens that go through the backward pass: with a KL term those of every step, else those of
    the steps with an advantage.
    """
    return sum(
        len(row.prompt_ids) + len(row.completion_ids)
        for row in rows
        if not row.filler and (every or row.advantage != 0)
    )


def _words(texts: Sequence[str]) -> Counter[str]:
    return Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
