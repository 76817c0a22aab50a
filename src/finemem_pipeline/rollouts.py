"""What happened: the records that rewards, credit and metrics read.

A rollout is played once and never changed. None means "not scored" everywhere, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from finemem_pipeline.memory import Applied, MemoryBank, MemoryItem


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply of a text generator. Backends that do not tell token ids leave the id tuples empty."""

    text: str
    prompt_ids: tuple[int, ...] = ()  # (P,)
    completion_ids: tuple[int, ...] = ()  # (L,)
    logprobs: tuple[float, ...] = ()  # (L,) natural logarithms, of the tokens as sampled
    finish: str = "stop"  # "stop", or "length" if it was cut off


@dataclass(frozen=True, slots=True)
class Answer:
    """One question, answered from a memory."""

    question_id: str
    prediction: str
    evidence: tuple[MemoryItem, ...] = ()  # R_j (k,), as retrieved, best first
    evidence_scores: tuple[float, ...] = ()  # (k,) the retriever's own scores
    cited: tuple[str, ...] = ()  # C_j, ids of the items the reasoner says it used
    score: float | None = None  # s_j in [0, 1]; None: not scored
    failure: str | None = None  # why it is not scored


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One chunk read, and what the manager did about it."""

    step: int  # 0..T-1, index of the chunk
    completion: Completion
    operations: tuple[Applied, ...]  # as written, refused ones included
    malformed: tuple[str, ...]  # fragments that were no operation
    bank: MemoryBank  # as it stood after the step
    bank_tokens: int  # L(M_t), tokens
    chunk_tokens: int  # L(c_t), tokens
    answers: tuple[Answer, ...] = ()  # to this chunk's own questions, from `bank`
    probes: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict)  # further answers, by what they probe


@dataclass(frozen=True, slots=True)
class Rollout:
    """One pass of a manager over one stream."""

    episode_id: str
    sibling: int  # 0..G-1
    steps: tuple[StepRecord, ...]  # (T,)
    answers: tuple[Answer, ...]  # (N,) to the final questions, from the last bank
    tokens_read: int  # Σ_t L(c_t), tokens
    probes: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict)  # counterfactual answers to final questions

    @property
    def final_tokens(self) -> int:
        """L(M_T), tokens of the memory after the last step."""
        return self.steps[-1].bank_tokens


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """G rollouts of the same stream, asked the same questions."""

    episode_id: str
    rollouts: tuple[Rollout, ...]  # (G,)

    def __post_init__(self) -> None:
        lengths = {len(rollout.steps) for rollout in self.rollouts}
        strangers = {rollout.episode_id for rollout in self.rollouts} - {self.episode_id}
        if len(lengths) > 1 or strangers:
            raise ValueError(
                f"group {self.episode_id}: siblings must share the stream and its T, "
                f"found T in {sorted(lengths)}, other streams {sorted(strangers)}"
            )
