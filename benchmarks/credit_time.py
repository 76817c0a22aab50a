"""What the answers that credit rests on cost, beside the usual way of getting them.

    python benchmarks/credit_time.py [--rounds 3]

Recorded rollouts of 8 siblings whose memories grow apart: 20 steps with 5 questions after each, and 20 final questions,
over memories that grow to 40, 200 and 1,000 items. Both sides answer the same questions from the same memories with
the extractive reasoner, and must come to the same answers to the last bit of a score.

    ours        a reader with BM25, whose index follows the memory, and a cache of answers, both empty at first; the
                questions of all siblings at a step are one batch
    usual way   every search splits all items into words and counts them, and every question is put to the reasoner

The two take turns at every step, so that other work on the machine slows both alike, and of every step the fastest of
the rounds counts. The verdict is about wall time, the reasoner's included: 50 times less is the aim at 200 and at 1,000
items. Exits with 1 below 20 times at either.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean

import numpy as np
import recorded
from rich.console import Console
from rich.table import Table

from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.memory import MemoryBank, MemoryItem
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader, Usage
from finemem_pipeline.retrieval import BM25, Retriever
from finemem_pipeline.rollouts import Answer, RolloutGroup

SIBLINGS, STEPS, CHUNK_QUESTIONS, QUESTIONS = 8, 20, 5, 20
SIZES = (40, 200, 1000)
JUDGED = (200, 1000)
AIM, LEAST = 50.0, 20.0

Pairs = list[tuple[Question, MemoryBank]]


class Rebuilt(Retriever):
    """A Retriever with the scores of BM25 that begins anew at every search, as rank-bm25 is commonly used."""

    def __init__(self, k1: float = 1.5, b: float = 0.75) -> None:
        self.k1 = k1
        self.b = b

    def search(
        self, queries: Sequence[str], items: Sequence[MemoryItem], k: int
    ) -> list[list[tuple[MemoryItem, float]]]:
        return [self._best(_words(query), items, k) for query in queries]

    def _best(self, query: list[str], items: Sequence[MemoryItem], k: int) -> list[tuple[MemoryItem, float]]:
        counts: list[dict[str, int]] = []
        holding: dict[str, int] = {}
        lengths = np.zeros(len(items))
        for place, item in enumerate(items):
            words = _words(item.text)
            times: dict[str, int] = {}
            for word in words:
                times[word] = times.get(word, 0) + 1
            for word in times:
                holding[word] = holding.get(word, 0) + 1
            counts.append(times)
            lengths[place] = len(words)
        idf = {word: math.log(1 + (len(items) - df + 0.5) / (df + 0.5)) for word, df in holding.items()}
        damping = self.k1 * (1 - self.b + self.b * lengths / lengths.mean())
        scores = np.zeros(len(items))
        for word in query:
            if word in idf:
                tf = np.array([times.get(word, 0) for times in counts], dtype=np.float64)
                scores += idf[word] * tf * (self.k1 + 1) / (tf + damping)
        least = np.partition(scores, -k)[-k] if len(items) > k else 0.0
        hits = [(items[place], float(scores[place])) for place in np.flatnonzero(scores >= least) if scores[place] > 0]
        hits.sort(key=lambda hit: (hit[1], hit[0].writes[-1], int(hit[0].id.removeprefix("m"))), reverse=True)
        return hits[:k]


@dataclass
class Side:
    """One way to answer, and what it spent on each of the steps; the final questions come last."""

    reader: Reader
    answer: Callable[[Reader, Pairs], list[Answer]]
    wall: list[float] = field(default_factory=list)  # seconds
    process: list[float] = field(default_factory=list)  # seconds of this process
    usage: list[Usage] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def take(self, pairs: Pairs) -> None:
        before, wall, process = self.reader.usage, time.perf_counter(), time.process_time()
        answers = self.answer(self.reader, pairs)
        self.wall.append(time.perf_counter() - wall)
        self.process.append(time.process_time() - process)
        self.usage.append(self.reader.usage.since(before))
        self.answers += answers


def measure(episode: Episode, group: RolloutGroup) -> tuple[Side, Side]:
    """Ours and the usual way, in turns. Raises RuntimeError if they do not come to the same answers."""
    ours = Side(Reader(BM25(), ExtractiveReasoner(), cache=AnswerCache()), lambda reader, pairs: reader.answer(pairs))
    usual = Side(Reader(Rebuilt(), ExtractiveReasoner()), _one_by_one)
    for number, pairs in enumerate(_batches(episode, group)):
        for side in (ours, usual) if number % 2 else (usual, ours):
            side.take(pairs)
    if ours.answers != usual.answers:
        raise RuntimeError(f"{group.episode_id}: the two sides come to different answers")
    return ours, usual


def _one_by_one(reader: Reader, pairs: Pairs) -> list[Answer]:
    """A search and a call for every question: of equal questions in one batch a reader asks one."""
    return [answer for pair in pairs for answer in reader.answer([pair])]


def _batches(episode: Episode, group: RolloutGroup) -> Iterator[Pairs]:
    for chunk in episode.chunks:
        banks = [rollout.steps[chunk.index].bank for rollout in group.rollouts]
        yield [(question, bank) for bank in banks for question in chunk.questions]
    yield [(question, rollout.steps[-1].bank) for rollout in group.rollouts for question in episode.questions]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def fastest(rounds: Sequence[Sequence[float]]) -> float:
    """The sum over the steps of the fastest round."""
    return sum(map(min, zip(*rounds, strict=True)))


def alike(group: RolloutGroup, step: int) -> float:
    """The share of its texts that a sibling has in common with another after a step, averaged over all pairs."""
    held = [{item.text for item in rollout.steps[step].bank.items} for rollout in group.rollouts]
    return fmean(len(one & other) / max(len(one), len(other)) for one, other in combinations(held, 2))


def main() -> int:
    arguments = argparse.ArgumentParser(description="What the answers that credit rests on cost.")
    arguments.add_argument("--rounds", type=int, default=3, help="times to measure, the fastest counts")
    rounds = max(1, arguments.parse_args().rounds)
    console = Console()
    times = Table(title=f"{SIBLINGS} siblings, {STEPS} steps, {CHUNK_QUESTIONS} questions each, {QUESTIONS} at the end")
    for column in ("items", "usual, s", "ours, s", "wall", "process", "calls, usual", "calls, ours"):
        times.add_column(column, justify="right")
    shares: dict[int, list[tuple[float, float]]] = {}  # by step: hit rate, and how much alike the memories are
    ratios: dict[int, float] = {}
    for size in SIZES:
        episode = recorded.stream(STEPS, size, CHUNK_QUESTIONS, QUESTIONS)
        group = recorded.siblings(episode, SIBLINGS, size)
        found = [measure(episode, group) for _ in range(rounds)]
        ours, usual = (fastest([pair[side].wall for pair in found]) for side in (0, 1))
        process = [fastest([pair[side].process for pair in found]) for side in (0, 1)]
        ratios[size] = usual / ours
        calls = [sum(usage.calls for usage in side.usage) for side in found[0]]
        times.add_row(
            *(f"{size:,}", f"{usual:.3f}", f"{ours:.3f}", f"{ratios[size]:.1f}×", f"{process[1] / process[0]:.1f}×"),
            *(f"{calls[1]:,}", f"{calls[0]:,}"),
        )
        shares[size] = [
            (1 - usage.calls / usage.questions, alike(group, min(step, STEPS - 1)))
            for step, usage in enumerate(found[0][0].usage)
        ]
    console.print(times)
    console.print("questions answered without a call, and texts that two siblings share, by step:")
    hits = Table()
    hits.add_column("step", justify="right")
    for size in SIZES:
        hits.add_column(f"{size:,} items", justify="right")
    for step in range(STEPS + 1):
        cells = (f"{hit:.0%} {share:>5.0%}" for hit, share in (shares[size][step] for size in SIZES))
        hits.add_row(str(step) if step < STEPS else "final", *cells)
    console.print(hits)
    worst = min(ratios[size] for size in JUDGED)
    told = ", ".join(f"{ratios[size]:.0f} times less wall time at {size:,} items" for size in JUDGED)
    verdict = "OK" if worst >= AIM else "OK, short of the aim" if worst >= LEAST else "MISSED"
    console.print(f"{verdict}: {told}; aim {AIM:.0f}, at least {LEAST:.0f}", soft_wrap=True)
    return 0 if worst >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
