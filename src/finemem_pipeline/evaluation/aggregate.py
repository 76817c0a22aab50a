"""Averages whose way is always the same: question → stream → source → mean over sources.

Every mean carries how many questions, streams and sources it rests on and how many were not scored. A mean of
nothing is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from finemem_pipeline.evaluation.results import StreamResult


@dataclass(frozen=True, slots=True)
class Cell:
    """One mean, and what it rests on."""

    score: float | None  # in [0, 1]; None: no question was scored
    memory_tokens: float | None  # L(M_T), streams → source → mean over sources; None: no stream
    questions: int  # scored
    unscored: int  # questions without a score
    streams: int  # with at least one scored question
    unscored_streams: int
    sources: int  # with at least one scored question
    unscored_sources: int


def mean_over_sources(results: Iterable[StreamResult], sources: Iterable[str] = ()) -> Cell:
    """The mean of one manager's results over their sources; `sources` names those that should be there, so that
    one that was not even played counts as unscored.

    Memory tokens are averaged over the sources that were played, scored or not.
    """
    played = _grouped(results, lambda result: result.source)
    cells = [source_cell(streams) for streams in played.values()]
    expected = set(played) | set(sources)
    scores = [cell.score for cell in cells if cell.score is not None]
    tokens = [cell.memory_tokens for cell in cells if cell.memory_tokens is not None]
    return Cell(
        score=fmean(scores) if scores else None,
        memory_tokens=fmean(tokens) if tokens else None,
        questions=sum(cell.questions for cell in cells),
        unscored=sum(cell.unscored for cell in cells),
        streams=sum(cell.streams for cell in cells),
        unscored_streams=sum(cell.unscored_streams for cell in cells),
        sources=len(scores),
        unscored_sources=len(expected) - len(scores),
    )


def source_cell(streams: Sequence[StreamResult]) -> Cell:
    """The mean of one manager over the streams of one source, each stream weighing the same."""
    scores = [score for stream in streams if (score := stream_score(stream)) is not None]
    scored = sum(question.score is not None for stream in streams for question in stream.questions)
    return Cell(
        score=fmean(scores) if scores else None,
        memory_tokens=fmean(stream.memory_tokens for stream in streams) if streams else None,
        questions=scored,
        unscored=sum(len(stream.questions) for stream in streams) - scored,
        streams=len(scores),
        unscored_streams=len(streams) - len(scores),
        sources=int(bool(scores)),
        unscored_sources=int(not scores),
    )


def stream_score(stream: StreamResult) -> float | None:
    """Mean over the stream's scored questions."""
    scores = [question.score for question in stream.questions if question.score is not None]
    return fmean(scores) if scores else None


def by_source(results: Iterable[StreamResult]) -> dict[str, Cell]:
    """One manager's cell for each source, in order of appearance."""
    return {source: source_cell(streams) for source, streams in _grouped(results, lambda r: r.source).items()}


def by_task(results: Iterable[StreamResult]) -> dict[str, Cell]:
    """One manager's mean over the sources of each task, in order of appearance."""
    return {task: mean_over_sources(streams) for task, streams in _grouped(results, lambda r: r.task).items()}


def question_mean(results: Iterable[StreamResult]) -> float | None:
    """The plain mean over all scored questions, every question weighing the same."""
    scores = [question.score for result in results for question in result.questions if question.score is not None]
    return fmean(scores) if scores else None


def _grouped(results: Iterable[StreamResult], key: Callable[[StreamResult], str]) -> dict[str, list[StreamResult]]:
    groups: dict[str, list[StreamResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups
