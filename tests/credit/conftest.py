"""Small rollouts in which only the answers matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from finemem_pipeline.memory import Applied, MemoryBank, MemoryItem
from finemem_pipeline.rollouts import Answer, Completion, Rollout, StepRecord

Answered = Callable[..., Rollout]
Told = Callable[..., Rollout]


def idle(t: int, operations: Sequence[Applied] = ()) -> StepRecord:
    return StepRecord(t, Completion("[]"), tuple(operations), (), MemoryBank(), bank_tokens=0, chunk_tokens=1)


@pytest.fixture
def answered() -> Answered:
    """A rollout of T steps with these final scores, each resting on items last written at these steps."""

    def build(scores: Sequence[float | None], evidence: Sequence[Sequence[int]], steps: int) -> Rollout:
        answers = [
            Answer(f"q{j}", "", tuple(MemoryItem(f"m{i + 1}", "", (0, t)) for i, t in enumerate(writers)), score=score)
            for j, (score, writers) in enumerate(zip(scores, evidence, strict=True))
        ]
        return Rollout("e", 0, tuple(idle(t) for t in range(steps)), tuple(answers), tokens_read=steps)

    return build


@pytest.fixture
def told() -> Told:
    """A rollout of three steps with these answers, these probes, and these operations by step."""

    def build(
        *answers: Answer,
        probes: Mapping[str, Sequence[Answer]] | None = None,
        operations: Mapping[int, Sequence[Applied]] | None = None,
    ) -> Rollout:
        steps = tuple(idle(t, (operations or {}).get(t, ())) for t in range(3))
        kept = {name: tuple(found) for name, found in (probes or {}).items()}
        return Rollout("e", 0, steps, answers, tokens_read=3, probes=kept)

    return build
