"""Averages whose way is always the same: question → stream → source → mean over sources.

A source is a column of one benchmark: where two benchmarks hold streams of the same source, those are two columns.
Results are expected with their rebuilds merged (`results.rebuilds_merged`). Every mean carries how many questions,
streams and sources it rests on and how many were not scored. A mean of nothing is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from finemem_pipeline.evaluation.results import QuestionResult, StreamResult

Column = tuple[str, str]
"""Benchmark and source."""

Key = TypeVar("Key")


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
    question_mean: float | None  # every scored question weighing the same
    published: float | None  # the same two means of the published scores
    published_question_mean: float | None


def mean_over_sources(results: Iterable[StreamResult], sources: Iterable[Column] = ()) -> Cell:
    """The mean of one manager's results over their sources; `sources` names those that should be there, so that
    one that was not even played counts as unscored.

    Memory tokens are averaged over the sources that were played, scored or not.
    """
    played = _grouped(results, column)
    streams = [stream for each in played.values() for stream in each]
    cells = [source_cell(streams) for streams in played.values()]
    expected = set(played) | set(sources)
    scores = [cell.score for cell in cells if cell.score is not None]
    tokens = [cell.memory_tokens for cell in cells if cell.memory_tokens is not None]
    theirs = [cell.published for cell in cells if cell.published is not None]
    return Cell(
        score=fmean(scores) if scores else None,
        memory_tokens=fmean(tokens) if tokens else None,
        questions=sum(cell.questions for cell in cells),
        unscored=sum(cell.unscored for cell in cells),
        streams=sum(cell.streams for cell in cells),
        unscored_streams=sum(cell.unscored_streams for cell in cells),
        sources=len(scores),
        unscored_sources=len(expected) - len(scores),
        question_mean=question_mean(streams),
        published=fmean(theirs) if theirs else None,
        published_question_mean=question_mean(streams, published),
    )


def source_cell(streams: Sequence[StreamResult]) -> Cell:
    """The mean of one manager over the streams of one source, each stream weighing the same."""
    scores = [found for stream in streams if (found := stream_score(stream)) is not None]
    published_scores = [found for stream in streams if (found := stream_score(stream, published)) is not None]
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
        question_mean=question_mean(streams),
        published=fmean(published_scores) if published_scores else None,
        published_question_mean=question_mean(streams, published),
    )


def score(question: QuestionResult) -> float | None:
    """The score that tables are made of."""
    return question.score


def published(question: QuestionResult) -> float | None:
    """The score by the scorer of the published tables."""
    return question.published


def stream_score(stream: StreamResult, face: Callable[[QuestionResult], float | None] = score) -> float | None:
    """Mean over the stream's scored questions."""
    scores = [found for question in stream.questions if (found := face(question)) is not None]
    return fmean(scores) if scores else None


def column(result: StreamResult) -> Column:
    """Where a result belongs."""
    return result.benchmark, result.source


def by_source(results: Iterable[StreamResult]) -> dict[Column, Cell]:
    """One manager's cell for each source, in order of appearance."""
    return {place: source_cell(streams) for place, streams in _grouped(results, column).items()}


def by_benchmark(results: Iterable[StreamResult]) -> dict[str, Cell]:
    """One manager's mean over the sources of each benchmark, in order of appearance."""
    return {name: mean_over_sources(streams) for name, streams in _grouped(results, lambda r: r.benchmark).items()}


def by_task(results: Iterable[StreamResult]) -> dict[str, Cell]:
    """One manager's mean over the sources of each task, in order of appearance."""
    return {task: mean_over_sources(streams) for task, streams in _grouped(results, lambda r: r.task).items()}


def question_mean(
    results: Iterable[StreamResult], face: Callable[[QuestionResult], float | None] = score
) -> float | None:
    """The plain mean over all scored questions, every question weighing the same."""
    scores = [found for result in results for question in result.questions if (found := face(question)) is not None]
    return fmean(scores) if scores else None


def _grouped(results: Iterable[StreamResult], key: Callable[[StreamResult], Key]) -> dict[Key, list[StreamResult]]:
    groups: dict[Key, list[StreamResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups
