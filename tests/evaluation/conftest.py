"""Builders of results, short enough to be read beside their expectation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from finemem_pipeline.evaluation import QuestionResult, Spent, StreamResult

Stream = Callable[..., StreamResult]


def make_stream(
    scores: Sequence[float | None],
    *,
    manager: str = "trained",
    source: str = "squad",
    task: str = "AR",
    stream: str = "s1",
    tokens: float = 100,
    benchmark: str = "test",
    seed: int = 0,
    training_seed: int | None = None,
    published: Sequence[float | None] | None = None,
    read: float = 1000,
    write: Spent | None = None,
    **counts: float,
) -> StreamResult:
    operations = {"insert": 0.0, "update": 0.0, "delete": 0.0, "skip": 0.0}
    return StreamResult(
        manager=manager,
        source=source,
        task=task,
        stream=stream,
        memory_tokens=tokens,
        tokens_read=read,
        steps=2,
        refused=counts.pop("refused", 0),
        malformed=counts.pop("malformed", 0),
        operations={**operations, **counts},
        questions=tuple(
            QuestionResult(manager, source, task, stream, f"q{place}", "sub_em", score, face)
            for place, (score, face) in enumerate(zip(scores, published or scores, strict=True))
        ),
        benchmark=benchmark,
        seed=seed,
        training_seed=training_seed,
        write=write or Spent(),
    )


@pytest.fixture(scope="session")
def stream() -> Stream:
    return make_stream
