"""Small rollouts in which only the answers matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from finemem_pipeline.memory import MemoryBank, MemoryItem
from finemem_pipeline.rollouts import Answer, Completion, Rollout, StepRecord

Answered = Callable[..., Rollout]


@pytest.fixture
def answered() -> Answered:
    """A rollout of T steps with these final scores, each resting on items last written at these steps."""

    def build(scores: Sequence[float | None], evidence: Sequence[Sequence[int]], steps: int) -> Rollout:
        idle = [
            StepRecord(t, Completion("[]"), (), (), MemoryBank(), bank_tokens=0, chunk_tokens=1) for t in range(steps)
        ]
        answers = [
            Answer(f"q{j}", "", tuple(MemoryItem(f"m{i + 1}", "", (0, t)) for i, t in enumerate(writers)), score=score)
            for j, (score, writers) in enumerate(zip(scores, evidence, strict=True))
        ]
        return Rollout("e", 0, tuple(idle), tuple(answers), tokens_read=steps)

    return build
