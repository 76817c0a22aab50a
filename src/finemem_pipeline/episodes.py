"""What comes in: a stream of chunks, and the questions asked about it.

Everything here is frozen and built of tuples, so that an episode can be shared between siblings,
used as a key and compared. Chunks are counted from 0; a question names its evidence by those numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Task = Literal["AR", "TTL", "LRU", "CR"]
"""Accurate retrieval, test-time learning, long-range understanding, conflict resolution."""

TASKS: tuple[str, ...] = get_args(Task)


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its references. Only `text` may ever be shown to a model."""

    id: str
    text: str
    answers: tuple[str, ...]  # references; the metric says how they are used
    metric: str = "sub_em"  # a name in metrics.METRICS
    evidence: tuple[int, ...] = ()  # chunks that hold the answer, ascending
    stale: tuple[int, ...] = ()  # chunks with a statement that a later chunk replaced
    keywords: tuple[str, ...] = ()  # for keyword_recall
    kind: str = ""  # the source's own category of question
    until: int | None = None  # of a chunk question: the chunk whose statement replaces the answer


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of the stream, read in one step."""

    index: int  # 0..T-1, its place in the stream and the step that reads it
    text: str
    questions: tuple[Question, ...] = ()  # asked right after this chunk was read
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One stream of T chunks and the N questions asked after the last of them.

    Raises ValueError if chunks are not numbered 0..T-1 or a question points outside the stream.
    """

    id: str
    source: str  # the data set it comes from, the row of a result table
    task: Task
    chunks: tuple[Chunk, ...]  # (T,)
    questions: tuple[Question, ...]  # (N,)

    def __post_init__(self) -> None:
        found = [chunk.index for chunk in self.chunks]
        if found != list(range(len(found))):
            raise ValueError(f"episode {self.id}: chunks must be numbered 0..{len(found) - 1} in order, found {found}")
        asked = [*self.questions, *(question for chunk in self.chunks for question in chunk.questions)]
        for question in asked:
            until = () if question.until is None else (question.until,)
            outside = [t for t in (*question.evidence, *question.stale, *until) if not 0 <= t < len(self.chunks)]
            if outside:
                raise ValueError(
                    f"episode {self.id}: question {question.id} points to chunk {outside[0]}, "
                    f"the stream has chunks 0..{len(self.chunks) - 1}"
                )

    @property
    def steps(self) -> int:
        """T, the number of chunks and of manager steps."""
        return len(self.chunks)
