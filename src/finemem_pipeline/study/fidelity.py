"""How near a scheme's credit comes to what caused the score."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.credit import NEEDS, SCHEMES
from finemem_pipeline.episodes import Episode
from finemem_pipeline.manager.play import play
from finemem_pipeline.memory import CountTokens
from finemem_pipeline.reasoning.probes import probe
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.rollouts import RolloutGroup
from finemem_pipeline.study.families import streams
from finemem_pipeline.study.habits import Scripted
from finemem_pipeline.study.ledger import Ledger
from finemem_pipeline.study.truth import Causes

Array = NDArray[np.float64]

TRUTHS = ("left_out", "shapley")


@dataclass(frozen=True, slots=True)
class Fidelity:
    """One scheme on one rollout. None: there is nothing to compare, as under a truth that is the same everywhere."""

    scheme: str
    spearman: dict[str, float | None]  # by truth, −1 to 1
    precision: float | None  # share of the gold steps among the |gold| steps with most credit
    idle_share: dict[str, float | None]  # by truth: share of the credit given that went to steps with a truth ≤ 0
    calls: int  # questions that the scheme's probes sent to the reasoner
    milliseconds: float  # probes and scheme


def fidelities(
    group: RolloutGroup, episode: Episode, make_reader: Callable[[], Reader], schemes: Sequence[str], orders: int
) -> list[Fidelity]:
    """Every scheme on the one rollout of the group, against the truths by leaving out and by Shapley value of steps.

    `make_reader` gives a reader with an empty cache: each scheme pays for its own probes. Raises ReasonerError if
    an answer failed.
    """
    [rollout] = group.rollouts
    causes = Causes(rollout, episode.questions, make_reader())
    truths = {"left_out": causes.left_out(), "shapley": causes.shapley(orders)}
    gold = {step for question in episode.questions for step in question.evidence}
    found = []
    for scheme in schemes:
        reader = make_reader()
        if scheme in NEEDS:  # what is known without the scheme costs it nothing
            reader.answer([(question, rollout.steps[-1].bank) for question in episode.questions])
        before, began = reader.usage, time.perf_counter()
        probed = probe([group], [episode], reader, [NEEDS[scheme]]) if scheme in NEEDS else [group]
        credit = SCHEMES[scheme](probed[0].rollouts[0])
        taken = time.perf_counter() - began
        found.append(
            Fidelity(
                scheme,
                {name: spearman(credit, truth) for name, truth in truths.items()},
                precision_at_gold(credit, gold),
                {name: idle_share(credit, truth) for name, truth in truths.items()},
                reader.usage.since(before).calls,
                1000.0 * taken,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """One stream to be played by one habit."""

    family: str
    habit: str
    seed: int
    episode: Episode
    unit: str  # what is drawn again for an interval: the seed of planted streams, or the stream itself

    @property
    def cell(self) -> dict[str, Any]:
        """What tells its rows from others."""
        return {
            "family": self.family,
            "steps": self.episode.steps,
            "habit": self.habit,
            "seed": self.seed,
            "stream": self.episode.id,
            "unit": self.unit,
        }


def planted_cases(
    families: Sequence[str], steps: Sequence[int], habits: Sequence[str], seeds: Iterable[int]
) -> Iterator[Case]:
    """One stream per family, T and seed, played by every habit."""
    for seed in seeds:
        for family in families:
            for length in steps:
                [episode] = streams(family, length, seed)
                for habit in habits:
                    yield Case(family, habit, seed, episode, f"seed {seed}")


def given_cases(episodes: Sequence[Episode], habits: Sequence[str], seeds: Iterable[int]) -> Iterator[Case]:
    """The same streams for every seed, which then draws the managers' chances alone."""
    for seed in seeds:
        for episode in episodes:
            for habit in habits:
                yield Case(episode.source, habit, seed, episode, episode.id)


def measure(
    cases: Iterable[Case],
    schemes: Sequence[str],
    make_reader: Callable[[], Reader],
    count_tokens: CountTokens,
    orders: int,
    ledger: Ledger,
    on_case: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """One row per case and scheme, in the order of the cases; those in the ledger are not played again."""
    rows: list[dict[str, Any]] = []
    for done, case in enumerate(cases, start=1):
        found = ledger.get(case.cell)
        if found is None:
            manager = Scripted(case.habit, case.seed)
            [group] = play([case.episode], manager, make_reader(), count_tokens, ask_chunks=False)
            found = [asdict(each) for each in fidelities(group, case.episode, make_reader, schemes, orders)]
            ledger.put(case.cell, found)
        rows += [{**case.cell, **row} for row in found]
        on_case(done)
    return rows


NOISE = 1e-9
"""Differences below this are the order in which floats were added up."""


def spearman(credit: Array, truth: Array) -> float | None:
    """Rank correlation of two (T,) arrays, ties sharing their mean rank.

    None under a constant truth, which no credit can follow; 0 for a constant credit, which follows nothing.
    """
    given, caused = (_ranks(np.round(values / NOISE)) for values in (credit, truth))
    if np.ptp(caused) == 0:
        return None
    return float(np.corrcoef(given, caused)[0, 1]) if np.ptp(given) else 0.0


def precision_at_gold(credit: Array, gold: Collection[int]) -> float | None:
    """Share of the |gold| steps with the most credit that are gold; of steps that tie for the last places, the share
    expected if they were drawn. None without gold, or where all steps are.
    """
    if not gold or len(gold) == len(credit):
        return None
    rounded = np.round(credit / NOISE)
    last = np.sort(rounded)[::-1][len(gold) - 1]
    sure, tied = np.flatnonzero(rounded > last), np.flatnonzero(rounded == last)
    hits = sum(step in gold for step in sure.tolist())
    drawn = (len(gold) - len(sure)) * np.mean([step in gold for step in tied.tolist()])
    return float((hits + drawn) / len(gold))


def idle_share(credit: Array, truth: Array) -> float | None:
    """Share of the positive credit that went to steps with a truth ≤ 0; None where no credit is positive."""
    given = np.maximum(credit, 0.0)
    return float(given[truth <= NOISE].sum() / given.sum()) if given.sum() > NOISE else None


def _ranks(values: Array) -> Array:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    upto = np.cumsum(counts)
    return np.asarray((upto - (counts - 1) / 2)[places], dtype=np.float64)
