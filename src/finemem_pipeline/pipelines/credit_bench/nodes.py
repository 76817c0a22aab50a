"""Sentences of the credit_bench pipeline."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finemem_pipeline import wiring
from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.streams import limited
from finemem_pipeline.config import CreditBenchConfig, DataConfig, ReaderConfig
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import DataError, unknown
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reporting.bars import Bar
from finemem_pipeline.reporting.credit import fidelity_grids, fidelity_plot
from finemem_pipeline.reporting.report import Section, write_credit_report
from finemem_pipeline.study.fidelity import Case, given_cases, measure, planted_cases
from finemem_pipeline.study.ledger import Ledger
from finemem_pipeline.study.summary import summarise
from finemem_pipeline.training import fingerprint
from finemem_pipeline.training.runs import digest

FULL_STEPS = (5, 10, 20, 50)
MEASURED_BY = (
    "benchmarks/planted.py",
    "benchmarks/planted_words.py",
    "study/families.py",
    "study/fidelity.py",
    "study/habits.py",
    "study/truth.py",
)
"""Files beside those of a training run that a row of the fidelity study depends on."""
REPORT = Path("data/08_reporting/credit.html")

log = logging.getLogger(__name__)


def measure_fidelity(bench: CreditBenchConfig, data: DataConfig, reader: ReaderConfig) -> list[dict[str, Any]]:
    """One row per stream, manager and scheme; finished ones are read back."""
    answers = wiring.reader(reader)
    seeds = range(bench.seeds)
    if data.source == "planted":
        steps = FULL_STEPS if bench.full else bench.steps
        cases: Iterator[Case] = planted_cases(bench.families, steps, bench.habits, seeds)
        count = len(bench.families) * len(steps) * len(bench.habits) * bench.seeds
        given = None
    else:
        episodes = _given(data, bench.streams)
        cases = given_cases(episodes, bench.habits, seeds)
        count = len(episodes) * len(bench.habits) * bench.seeds
        given = fingerprint.streams(episodes)

    def make_reader() -> Reader:
        return Reader(answers.retriever, answers.reasoner, answers.k, AnswerCache(None), answers.max_unscored_share)

    made_by = {
        "reader": wiring.reader_identity(reader, answers),
        "schemes": bench.schemes,
        "orders": bench.orders,
        "streams": given,  # planted ones follow from the code
        "code": fingerprint.code(*MEASURED_BY),
    }
    ledger = Ledger(bench.folder / f"fidelity-{digest(made_by)}.jsonl")
    with Bar("measuring credit", count) as bar:
        return measure(cases, bench.schemes, make_reader, _words, bench.orders, ledger, bar.at)


def compare_schemes(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The means, their intervals and the paired differences."""
    return {"fidelity": summarise(rows)}


def write_credit_page(summary: dict[str, Any], bench: CreditBenchConfig, data: DataConfig, reader: ReaderConfig) -> str:
    """The page of the study; returns its path."""
    fidelity = summary["fidelity"]
    told = {
        "streams": data.source,
        "rollouts": str(fidelity["episodes"]),
        "seeds": str(bench.seeds),
        "managers": ", ".join(bench.habits),
        "reader": f"{wiring.reasoner(reader.reasoner).identity}, k = {reader.k}",
        "code": wiring.git_commit(),
    }
    sections = [Section("Fidelity", (fidelity_plot(fidelity),), tuple(fidelity_grids(fidelity)))]
    return str(write_credit_report(REPORT, "Credit for memory operations", told, sections).resolve())


def _given(data: DataConfig, most: int | None) -> list[Episode]:
    """The test streams of a data source that say which chunks hold the answers."""
    assert data.path is not None  # DataConfig saw to it
    episodes = list(BENCHMARKS[data.source](data.path, "test"))
    known = sorted({episode.source for episode in episodes})
    for name in data.sources:
        if name not in known:
            raise DataError(unknown("data.sources", name, known, f"source of {data.path}"))
    chosen = [episode for episode in episodes if not data.sources or episode.source in data.sources]
    told = [episode for episode in chosen if any(question.evidence for question in episode.questions)]
    if not told:
        raise DataError(f"{data.path}: none of {len(chosen)} test streams names evidence: there is no credit to check.")
    if len(told) < len(chosen):
        log.warning("%d of %d test streams name no evidence and are left out", len(chosen) - len(told), len(chosen))
    return limited(told, most)


def _words(text: str) -> int:
    """The length of a text where no policy is there to bring a tokenizer."""
    return len(text.split())
