"""Small rollouts by their scores and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from finemem_pipeline.memory import Applied, MemoryBank, MemoryItem, Skip
from finemem_pipeline.rollouts import Answer, Completion, Rollout, StepRecord

Play = Callable[..., Rollout]


@pytest.fixture
def play() -> Play:
    """A rollout in which every list has one entry per final question, or per step."""

    def answered(t: int, scores: Sequence[float | None]) -> tuple[Answer, ...]:
        return tuple(Answer(f"c{t}q{j}", "", score=score) for j, score in enumerate(scores))

    def build(
        *,
        final: Sequence[float | None] = (1.0,),
        evidence: Sequence[Sequence[int]] | None = None,
        chunks: Sequence[Sequence[float | None]] = ((), ()),
        operations: Sequence[Sequence[Applied]] | None = None,
        malformed: Sequence[Sequence[str]] | None = None,
        probes: Mapping[str, Sequence[Sequence[float | None]]] | None = None,
        bank_tokens: Sequence[int] | None = None,
        final_tokens: int = 0,
        tokens_read: int = 100,
        sibling: int = 0,
    ) -> Rollout:
        steps = [
            StepRecord(
                step=t,
                completion=Completion("[]"),
                operations=tuple(operations[t]) if operations else (Applied(Skip()),),
                malformed=tuple(malformed[t]) if malformed else (),
                bank=MemoryBank(),
                bank_tokens=bank_tokens[t] if bank_tokens else final_tokens if t == len(chunks) - 1 else 0,
                chunk_tokens=tokens_read // len(chunks),
                answers=answered(t, scores),
                probes={name: answered(t, by_step[t]) for name, by_step in (probes or {}).items()},
            )
            for t, scores in enumerate(chunks)
        ]
        writers = evidence or [()] * len(final)
        answers = [
            Answer(f"q{j}", "", tuple(MemoryItem(f"m{i + 1}", "", (t,)) for i, t in enumerate(writers[j])), score=score)
            for j, score in enumerate(final)
        ]
        return Rollout("e", sibling, tuple(steps), tuple(answers), tokens_read)

    return build
