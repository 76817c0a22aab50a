"""Sentences of the credit_bench pipeline."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from finemem_pipeline import store, wiring
from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.streams import limited
from finemem_pipeline.config import CreditBenchConfig, DataConfig, ReaderConfig, RewardsConfig
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import DataError, unknown
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reporting.bars import Bar
from finemem_pipeline.reporting.credit import credit_grids, fidelity_grids, fidelity_plot
from finemem_pipeline.reporting.grid import markdown_grids
from finemem_pipeline.reporting.learning import learning_grids, learning_plots
from finemem_pipeline.reporting.report import Section, replace_text, write_page
from finemem_pipeline.rewards import Variant
from finemem_pipeline.study.fidelity import Case, given_cases, measure, planted_cases
from finemem_pipeline.study.gradients import gradient_noise, half_trained
from finemem_pipeline.study.learning import Practice, study
from finemem_pipeline.study.ledger import Ledger
from finemem_pipeline.study.lessons import summarise as lesson_summary
from finemem_pipeline.study.policy import Array as Weights
from finemem_pipeline.study.policy import start_weights
from finemem_pipeline.study.summary import summarise
from finemem_pipeline.training import fingerprint
from finemem_pipeline.training.runs import digest

MEASURED_BY = (
    "benchmarks/planted.py",
    "benchmarks/planted_words.py",
    "study/families.py",
    "study/fidelity.py",
    "study/habits.py",
    "study/truth.py",
)
"""Files beside those of a training run that a row of the fidelity study depends on."""
LEARNED_BY = (
    "benchmarks/planted.py",
    "benchmarks/planted_words.py",
    "study/gradients.py",
    "study/learning.py",
    "study/policy.py",
    "study/summary.py",
)
"""The same of the learning study."""
COPYING = 0.95
"""The chance of keeping a sentence in the state that collapsed runs end in, or near to it."""
TRUTH = 4
"""Groups that the true gradient is estimated from, for each of a variant's."""
REPORT = Path("data/08_reporting/credit.html")

log = logging.getLogger(__name__)


def measure_fidelity(bench: CreditBenchConfig, data: DataConfig, reader: ReaderConfig) -> list[dict[str, Any]]:
    """One row per stream, manager and scheme; finished ones are read back."""
    answers = wiring.reader(reader)
    seeds = range(bench.seeds)
    if data.source == "planted":
        cases: Iterator[Case] = planted_cases(bench.families, bench.lengths, bench.habits, seeds)
        count = len(bench.families) * len(bench.lengths) * len(bench.habits) * bench.seeds
        given = None
    else:
        episodes = _given(data, bench.streams)
        cases = given_cases(episodes, bench.habits, seeds)
        count = len(episodes) * len(bench.habits) * bench.seeds
        given = fingerprint.streams(episodes)

    def make_reader() -> Reader:
        return answers.but(cache=AnswerCache())

    made_by = {
        "reader": wiring.reader_identity(reader, answers),
        "schemes": bench.schemes,
        "orders": bench.orders,
        "streams": given,  # planted ones follow from the code
        "code": fingerprint.code(*MEASURED_BY),
    }
    rows = bench.folder / f"fidelity-{digest(made_by)}.jsonl"
    with store.keeping(rows), Bar("measuring credit", count) as bar:
        return measure(cases, bench.schemes, make_reader, _words, bench.orders, Ledger(rows), bar.at)


def study_learning(bench: CreditBenchConfig, data: DataConfig, rewards: RewardsConfig) -> list[dict[str, Any]]:
    """One row per variant, T and seed; finished runs are read back. Nothing where streams are given."""
    if not _learns(bench, data):
        return []
    variants, steps, practice = _lessons(bench, rewards)
    made_by = digest({"code": fingerprint.code(*LEARNED_BY)})
    rows = bench.folder / f"learning-{made_by}.jsonl"
    with store.keeping(rows), Bar("learning", len(variants) * len(steps) * bench.seeds) as bar:
        return study(
            variants,
            steps,
            range(bench.seeds),
            practice,
            rows,
            workers=bench.learning.workers or os.cpu_count() or 1,
            on_run=lambda done, _: bar.at(done),
        )


def measure_gradients(bench: CreditBenchConfig, data: DataConfig, rewards: RewardsConfig) -> list[dict[str, Any]]:
    """One row per variant, T and state of the policy: untrained, half trained by the first of the variants, copying."""
    if not _learns(bench, data) or not bench.learning.gradients:
        return []
    variants, steps, practice = _lessons(bench, rewards)
    groups = bench.learning.gradients
    made_by = {
        "variants": {name: asdict(variant) for name, variant in variants.items()},
        "practice": asdict(practice),
        "code": fingerprint.code(*LEARNED_BY),
    }
    kept = bench.folder / f"gradients-{digest(made_by)}.jsonl"
    first = bench.learning.variants[0]
    states: dict[str, Callable[[int], Weights | None]] = {
        "untrained": lambda _: start_weights(practice.keep, practice.overwrite),
        f"half trained by {first}": lambda length: half_trained(variants[first], length, 0, practice),
        "copying nearly all": lambda _: start_weights(COPYING, practice.overwrite),
    }
    found: list[dict[str, Any]] = []
    cells = [(length, state) for length in steps for state in states]
    with store.keeping(kept), Bar("measuring gradients", len(cells)) as bar:
        ledger = Ledger(kept)
        for done, (length, state) in enumerate(cells, start=1):
            cell = {"state": state, "steps": length, "groups": groups}
            rows = ledger.get(cell)
            if rows is None:
                weights, sizes = states[state](length), {"groups": groups, "truth_groups": TRUTH * groups}
                rows = [] if weights is None else gradient_noise(variants, weights, length, 0, practice, **sizes)
                ledger.put(cell, rows)
            if not rows:
                log.warning("%s does not come half way in %d updates at T = %d", first, practice.updates, length)
            found += [{"state": state, **row} for row in rows]
            bar.at(done)
    return found


def compare_schemes(
    fidelity: list[dict[str, Any]],
    learning: list[dict[str, Any]],
    gradients: list[dict[str, Any]],
    bench: CreditBenchConfig,
) -> dict[str, Any]:
    """The means, their intervals and the paired differences. `learning` is None where nothing was learned."""
    lessons = {
        **lesson_summary(learning, bench.learning.compare),
        "gradients": gradients,
        "seeds": bench.seeds,
        "updates": bench.learning.updates,
    }
    return {"fidelity": summarise(fidelity), "learning": lessons if learning else None}


def write_credit_page(summary: dict[str, Any], bench: CreditBenchConfig, data: DataConfig, reader: ReaderConfig) -> str:
    """The page of the study, with its tables as Markdown beside it; returns the path of the page."""
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
    if summary["learning"]:
        learning = summary["learning"]
        sections.append(Section("What it teaches", tuple(learning_plots(learning)), tuple(learning_grids(learning))))
    page = write_page(REPORT, "Credit for memory operations", told, sections)
    tables = replace_text(REPORT.with_suffix(".md"), markdown_grids(credit_grids(summary)))
    store.put(page, tables)
    return str(page)


def _learns(bench: CreditBenchConfig, data: DataConfig) -> bool:
    """Whether there is something to learn; it is learned on planted streams alone."""
    if bench.learning.variants and data.source != "planted":
        log.info("What variants teach is studied on planted streams, and left out for data.source=%s", data.source)
    return bool(bench.learning.variants) and data.source == "planted"


def _lessons(bench: CreditBenchConfig, rewards: RewardsConfig) -> tuple[dict[str, Variant], Sequence[int], Practice]:
    """Variants, T, and how a policy practises."""
    chosen = bench.learning
    practice = Practice(
        updates=chosen.updates,
        siblings=chosen.siblings,
        learning_rate=chosen.learning_rate,
        overwrite=chosen.overwrite,
    )
    practice = replace(practice, spec=replace(practice.spec, corrections=chosen.corrections))
    names = dict.fromkeys([*chosen.variants, *(rewards.root if bench.full else ())])
    return {name: rewards.variant(name) for name in names}, chosen.steps, practice


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
