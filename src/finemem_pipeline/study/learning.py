"""What a policy learns from a variant: the small policy of `policy`, trained by the project's own rewards.

An update plays fresh streams with G siblings, asks what the variant reads and nothing else, and climbs by
η/(G·T) Σ_{g,t} A_{g,t} ∇ log π_t, with A as `rewards.score_group` gives it. Streams and chances follow from T and the
seed alone, so variants are compared run by run. At times the greedy policy sits an exam on held-out streams, with a
reader of its own, whose calls are not counted.
"""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.credit import MovingBaseline
from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.manager import Manager, Observation, Turn
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.sentences import sentences
from finemem_pipeline.memory import Insert, MemoryBank, Skip, format_operations
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.probes import Sample, probe
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.rewards import Variant, score_group
from finemem_pipeline.rollouts import Completion, Rollout, RolloutGroup
from finemem_pipeline.study.ledger import Ledger, Row
from finemem_pipeline.study.policy import START, SentencePolicy, chances, decisions, start_weights

Array = NDArray[np.float64]

READ_AT_ONCE = ("chunk", "delta_chunk", "qa_gain")
"""The rewards that read the answers to a chunk's own questions; a variant without them does not have these asked."""

NEARLY = 0.05
"""A policy whose mean chance of keeping a sentence is this near to 0 or 1 skips, or copies, everything."""

FIRST_FEW = 10
"""Updates with an exam after each."""

HELD_OUT = 1_000_003
"""The seed of the exam's streams, for no run to have."""


@dataclass(frozen=True, slots=True)
class Practice:
    """How every variant of a study is trained. Most sentences are small talk, so that choosing matters."""

    spec: PlantedSpec = field(
        default_factory=lambda: PlantedSpec(facts_per_chunk=2, distractors_per_chunk=6, corrections=0.3)
    )
    updates: int = 150
    siblings: int = 8  # G
    streams: int = 1  # of an update
    learning_rate: float = 0.5  # η
    keep: float = START  # chance of keeping a sentence before the first update
    overwrite: float = START  # of overwriting what it resembles; as good as 0, it stays there: only keeping is learned
    held_out: int = 16  # streams of the exam
    check_every: int = 5  # updates from exam to exam, after the first few: some variants teach in a handful
    goal: float = 0.9  # share of the attainable score
    k: int = 2  # items retrieved for a question
    retention: Sample = field(default_factory=Sample)


@lru_cache(maxsize=8192)
def count_words(text: str) -> int:
    """Length of a text in words and marks: this policy has no tokenizer."""
    return len(_WORD_OR_MARK.findall(text))


def make_reader(practice: Practice) -> Reader:
    """BM25, the extractive reasoner and an empty cache. Indexes of one wave are all that is worth keeping."""
    return Reader(BM25(indexes=2 * practice.siblings), ExtractiveReasoner(), k=practice.k, cache=AnswerCache())


def fresh_streams(practice: Practice, steps: int, seed: int, count: int) -> Iterator[Episode]:
    """`count` streams with T = `steps`, the same for every variant."""
    return generate(replace(practice.spec, chunks=steps, seed=seed, train=count), "train")


def practise(
    policy: Manager, episodes: Sequence[Episode], reader: Reader, variants: Iterable[Variant], practice: Practice
) -> list[RolloutGroup]:
    """G siblings on every stream, with all the answers that one of the variants reads."""
    variants = tuple(variants)
    named = {name for variant in variants for name in variant.terms}
    probes = tuple(dict.fromkeys(name for variant in variants for name in variant.probes))
    groups = play(
        episodes,
        policy,
        reader,
        count_words,
        siblings=practice.siblings,
        ask_chunks=not named.isdisjoint(READ_AT_ONCE),
    )
    return probe(groups, episodes, reader, probes, practice.retention)


def policy_gradient(weights: Array, episode: Episode, group: RolloutGroup, advantages: Array) -> Array:
    """1/(G·T) Σ_{g,t} A_{g,t} ∇ log π(step t of sibling g) (P,), from the records and A (G, T)."""
    rows, taken, worth = [np.empty((0, len(weights)))], [np.empty(0)], [np.empty(0)]
    for rollout, own in zip(group.rollouts, advantages, strict=True):
        before = MemoryBank()
        for step, advantage in zip(rollout.steps, own, strict=True):
            if advantage:
                features, decided = decisions(episode.chunks[step.step].text, before, step.completion)
                rows.append(features)
                taken.append(decided)
                worth.append(np.full(len(decided), advantage))
            before = step.bank
    features = np.concatenate(rows)
    surprise = np.concatenate(taken) - chances(weights, features)
    return np.asarray((np.concatenate(worth) * surprise) @ features / advantages.size)


def train(variant: Variant, steps: int, seed: int, practice: Practice) -> Iterator[tuple[SentencePolicy, Reader]]:
    """The policy before the first update and after each, with the reader that has been asked so far.

    It is one policy, whose weights change when the next update is asked for.
    """
    policy = SentencePolicy(start_weights(practice.keep, practice.overwrite), [seed, steps])
    reader, baseline = make_reader(practice), MovingBaseline()
    streams = fresh_streams(practice, steps, seed, practice.updates * practice.streams)
    yield policy, reader
    while episodes := list(islice(streams, practice.streams)):
        reader.cache = AnswerCache()  # what was asked about other streams is not asked again
        groups = practise(policy, episodes, reader, [variant], practice)
        gradient = np.mean(
            [
                policy_gradient(policy.weights, episode, group, score_group(group, variant, baseline).advantages)
                for episode, group in zip(episodes, groups, strict=True)
            ],
            axis=0,
        )
        policy.weights = policy.weights + practice.learning_rate * gradient
        yield policy, reader


class Exam:
    """Held-out streams with T = `steps`, all their final questions, and the score that can be attained on them."""

    def __init__(self, steps: int, practice: Practice) -> None:
        spec = replace(practice.spec, chunks=steps, seed=HELD_OUT, test=practice.held_out, questions=None)
        self.episodes = list(generate(spec, "test"))
        self._corrected = {each.id for episode in self.episodes for each in episode.questions if each.stale}
        self._factual = np.concatenate([_states_fact(chunk) for each in self.episodes for chunk in each.chunks])
        self._reader = make_reader(practice)
        self.attainable = _score(self._play(FactKeeper()))

    def sit(self, weights: Array) -> Row:
        """What the greedy policy does: score, and that of the questions about facts that were corrected (None: there
        are none); tokens held after the last chunk; share of the sentences that are kept and of those that state a
        fact; the mean chance that it gives a sentence to be kept.
        """
        rollouts = self._play(SentencePolicy(weights, greedy=True))
        steps = [step for rollout in rollouts for step in rollout.steps]
        chunks = [chunk for episode in self.episodes for chunk in episode.chunks]
        looked = [_keeping(step.completion, len(sentences(at.text))) for step, at in zip(steps, chunks, strict=True)]
        kept, chance = np.concatenate(looked, axis=1)
        return {
            "score": _score(rollouts),
            "corrected": _score(rollouts, self._corrected) if self._corrected else None,
            "tokens": float(np.mean([rollout.final_tokens for rollout in rollouts])),
            "kept": float(kept.mean()),
            "facts": float(kept[self._factual].mean()),
            "chance": float(chance.mean()),
        }

    def _play(self, manager: Manager) -> list[Rollout]:
        groups = play(self.episodes, manager, self._reader, count_words, ask_chunks=False)
        return [rollout for group in groups for rollout in group.rollouts]


class FactKeeper:
    """A Manager that is told which sentences state a fact, and keeps those: what it scores can be attained."""

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        return [self._reply(each) for each in observations]

    def _reply(self, seen: Observation) -> Turn:
        facts = zip(sentences(seen.chunk.text), _states_fact(seen.chunk), strict=True)
        kept = [Insert(text) for text, factual in facts if factual]
        return Turn(Completion(format_operations(kept or [Skip()])))


def learn(variant: Variant, steps: int, seed: int, practice: Practice) -> Row:
    """One run, as a row: the exam's marks on the way, what it took to reach the goal and to keep as large a share of
    the facts (None: it never did), the mean score over all updates (high where learning is fast and good), what was
    left at the end, and how it collapsed, if it did.
    """
    exam = Exam(steps, practice)
    curve: list[Row] = []
    for update, (policy, reader) in enumerate(train(variant, steps, seed, practice)):
        if update <= FIRST_FEW or update % practice.check_every == 0 or update == practice.updates:
            asked = {"update": update, "calls": reader.usage.calls, "questions": reader.usage.questions}
            curve.append(asked | exam.sit(policy.weights))
    reached = next((at for at in curve if at["score"] >= practice.goal * exam.attainable), {})
    kept = next((at for at in curve if at["facts"] >= practice.goal), {})
    return {
        "variant": variant.name,
        "steps": steps,
        "seed": seed,
        "attainable": exam.attainable,
        "updates_to_goal": reached.get("update"),
        "calls_to_goal": reached.get("calls"),
        "questions_to_goal": reached.get("questions"),
        "tokens_at_goal": reached.get("tokens"),
        "updates_to_facts": kept.get("update"),
        "calls_to_facts": kept.get("calls"),
        "mean_score": _mean_height(curve),
        "peak_score": max(at["score"] for at in curve),
        "final_score": curve[-1]["score"],
        "final_corrected": curve[-1]["corrected"],
        "final_tokens": curve[-1]["tokens"],
        "final_kept": curve[-1]["kept"],
        "collapsed": collapse(curve),
        "curve": curve,
    }


def collapse(curve: Sequence[Row]) -> str | None:
    """How a run ended, if badly: it skips all, copies all, or fell to half of its best score or less."""
    last = curve[-1]
    if last["chance"] <= NEARLY:
        return "skips"
    if last["chance"] >= 1 - NEARLY:
        return "copies"
    best = max(at["score"] for at in curve)
    return "fell" if best and last["score"] <= best / 2 else None


def study(
    variants: Mapping[str, Variant],
    steps: Sequence[int],
    seeds: Sequence[int],
    practice: Practice,
    ledger: Path,
    *,
    workers: int = 1,
    on_run: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """One row per variant, T of `steps` and seed, in that order. Runs that the ledger holds are not played again.

    A run is written to the ledger as soon as it is finished. With several workers, runs are played side by side in
    processes of their own; rows are the same. `on_run(finished, all)` reports progress.
    """
    book = Ledger(ledger)
    runs = [(variant, t, seed) for variant in variants.values() for t in steps for seed in seeds]
    cells = [_cell(*run, practice) for run in runs]
    missing = [(run, cell) for run, cell in zip(runs, cells, strict=True) if book.get(cell) is None]
    for done, (cell, row) in enumerate(_played(missing, practice, workers), start=len(runs) - len(missing) + 1):
        book.put(cell, [row])
        if on_run is not None:
            on_run(done, len(runs))
    return [row for cell in cells for row in book.get(cell) or ()]


def _played(
    missing: Sequence[tuple[tuple[Variant, int, int], Row]], practice: Practice, workers: int
) -> Iterator[tuple[Row, Row]]:
    """(cell, row) of every run, as they finish."""
    if workers == 1:
        for run, cell in missing:
            yield cell, learn(*run, practice)
        return
    # Fresh processes: a fork of a process with threads may hang.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        cells = {pool.submit(learn, *run, practice): cell for run, cell in missing}
        for finished in as_completed(cells):
            yield cells[finished], finished.result()
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops the study does not wait for the runs still to come


def _cell(variant: Variant, steps: int, seed: int, practice: Practice) -> Row:
    """All that a run depends on, beside the code."""
    terms = {name: asdict(term) for name, term in variant.terms.items()}
    return {
        "variant": variant.name,
        "terms": terms,
        "advantage": variant.advantage,
        "steps": steps,
        "seed": seed,
        "reader": ExtractiveReasoner().identity,
        "practice": asdict(practice),
    }


def _mean_height(curve: Sequence[Row]) -> float:
    """The mean score over the updates, straight lines drawn from exam to exam."""
    if len(curve) == 1:
        return float(curve[0]["score"])
    updates, scores = (np.array([at[name] for at in curve], dtype=np.float64) for name in ("update", "score"))
    return float((np.diff(updates) * (scores[1:] + scores[:-1])).sum() / 2 / updates[-1])


def _states_fact(chunk: Chunk) -> NDArray[np.bool_]:
    """For every sentence whether it holds the answer to a question of the chunk (n,)."""
    values = [answer for question in chunk.questions for answer in question.answers]
    return np.array([any(value in text for value in values) for text in sentences(chunk.text)])


def _score(rollouts: Sequence[Rollout], among: Collection[str] | None = None) -> float:
    """Mean over the streams of the mean over their questions, or over those of them that are `among` these ids."""
    scores = [
        [
            answer.score
            for answer in rollout.answers
            if answer.score is not None and (among is None or answer.question_id in among)
        ]
        for rollout in rollouts
    ]
    return float(np.mean([np.mean(own) for own in scores if own]))


def _keeping(completion: Completion, count: int) -> Array:
    """(2, count) for every sentence whether it was kept, and the chance of that."""
    kept = np.array(completion.completion_ids[:count], dtype=np.float64)
    certain = np.exp(completion.logprobs[:count])
    return np.stack([kept, np.where(kept > 0, certain, 1 - certain)])


_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")
