"""How the cost of credit grows with the length of a stream, the size of the memory and the number of questions.

    python benchmarks/credit_growth.py [--rounds 3]

Two recorded siblings are answered for, probed in every way and given every reward and the credit of every scheme, with
a fresh BM25 and a fresh cache. One thing at a time is varied, the others stay as they are in USUAL. Slopes are those of
log seconds (process time, the fastest of the rounds) over log size, fitted to the largest sizes, where fixed costs no
longer hide what grows: 1 is linear. Draws data/08_reporting/credit_growth.svg. Exits with 1 at a slope above 1.5.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import recorded
from rich.console import Console
from rich.table import Table

from finemem_pipeline.credit import SCHEMES
from finemem_pipeline.episodes import Episode
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.probes import PROBES, probe
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reporting.plots import COLOURS
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.rewards import REWARDS
from finemem_pipeline.rollouts import RolloutGroup

SIBLINGS = 2
CHUNK_SHARE = 4  # final questions for each question after a chunk
LARGEST = 3  # sizes a slope is fitted to
EXPECTED, ALLOWED = 1.2, 1.5


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is varied."""

    steps: int
    items: int
    questions: int  # after the last chunk


USUAL = Sizes(steps=20, items=300, questions=20)
VARIED: dict[str, tuple[int, ...]] = {
    "steps": (10, 20, 40, 80, 160),
    "items": (300, 1000, 3000, 10_000, 30_000),
    "questions": (20, 40, 80, 160, 320),
}


def record(sizes: Sizes) -> tuple[Episode, RolloutGroup]:
    """A stream of these sizes and its siblings, not answered for yet."""
    episode = recorded.stream(sizes.steps, sizes.items, max(1, sizes.questions // CHUNK_SHARE), sizes.questions)
    return episode, recorded.siblings(episode, SIBLINGS, sizes.items)


def seconds(episode: Episode, group: RolloutGroup) -> float:
    """Process time of answering, probing, and computing every reward and the credit of every scheme, from nothing."""
    begin = time.process_time()
    reader = Reader(BM25(), ExtractiveReasoner(), cache=AnswerCache())
    [probed] = probe([_answered(episode, group, reader)], [episode], reader, list(PROBES))
    for compute in (*REWARDS.values(), *SCHEMES.values()):
        for rollout in probed.rollouts:
            compute(rollout)
    return time.process_time() - begin


def _answered(episode: Episode, group: RolloutGroup, reader: Reader) -> RolloutGroup:
    """The group with answers, asked step by step for all siblings together, as when it is played."""
    steps = []
    for chunk in episode.chunks:
        records = [rollout.steps[chunk.index] for rollout in group.rollouts]
        answers = iter(reader.answer([(question, each.bank) for each in records for question in chunk.questions]))
        steps.append([replace(each, answers=tuple(next(answers) for _ in chunk.questions)) for each in records])
    last = [rollout.steps[-1].bank for rollout in group.rollouts]
    answers = iter(reader.answer([(question, bank) for bank in last for question in episode.questions]))
    return replace(
        group,
        rollouts=tuple(
            replace(rollout, steps=taken, answers=tuple(next(answers) for _ in episode.questions))
            for rollout, taken in zip(group.rollouts, zip(*steps, strict=True), strict=True)
        ),
    )


def slope(sizes: Sequence[int], spent: Sequence[float]) -> float:
    """Of log seconds over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(spent), 1)[0])


def draw(measured: Mapping[str, Mapping[int, float]], path: Path) -> None:
    """One panel for each thing that was varied, with the line that linear growth would follow from its first point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.0), layout="constrained")
    panels = figure.subplots(1, len(measured), sharey=True)
    for axes, colour, (name, spent) in zip(panels, COLOURS, measured.items(), strict=False):
        sizes = np.array(list(spent))
        axes.loglog(sizes, list(spent.values()), color=colour, marker="o", markersize=4, label="measured")
        axes.loglog(sizes, spent[sizes[0]] * sizes / sizes[0], color="0.6", linewidth=1, linestyle="--", label="linear")
        axes.set_xlabel(name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
    panels[0].set_ylabel("seconds")
    panels[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    arguments = argparse.ArgumentParser(description="How the cost of credit grows.")
    arguments.add_argument("--rounds", type=int, default=3, help="times to measure, the fastest counts")
    rounds = max(1, arguments.parse_args().rounds)
    console = Console()
    measured: dict[str, dict[int, float]] = {}
    for name, sizes in VARIED.items():
        measured[name] = {}
        for size in sizes:
            made = record(replace(USUAL, **{name: size}))
            measured[name][size] = min(seconds(*made) for _ in range(rounds))
    slopes = {name: slope(list(spent)[-LARGEST:], list(spent.values())[-LARGEST:]) for name, spent in measured.items()}
    table = Table(title=f"seconds for {SIBLINGS} rollouts, {len(REWARDS)} rewards and {len(SCHEMES)} schemes")
    for column in ("varied", "sizes", "seconds", "slope", "expected"):
        table.add_column(column)
    for name, spent in measured.items():
        table.add_row(
            *(name, " ".join(f"{size:,}" for size in spent), " ".join(f"{each:.3f}" for each in spent.values())),
            *(f"{slopes[name]:.2f}", f"≤ {EXPECTED}"),
        )
    console.print(table)
    path = Path(__file__).resolve().parents[1] / "data" / "08_reporting" / "credit_growth.svg"
    draw(measured, path)
    console.print(f"drawn: {path}", soft_wrap=True)
    steepest = max(slopes, key=lambda name: slopes[name])
    held = slopes[steepest] <= ALLOWED
    console.print(
        f"{'OK' if held else 'MISSED'}: steepest in {steepest}, slope {slopes[steepest]:.2f}, allowed {ALLOWED}",
        soft_wrap=True,
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
