"""An evaluation document and training curves, small and by hand; a comparison that scripted managers have played."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.config import Child
from finemem_pipeline.evaluation import results_from_rollouts
from finemem_pipeline.evaluation.practice import Update, practice
from finemem_pipeline.evaluation.variants import Training, compare_trainings
from finemem_pipeline.manager import Turn
from finemem_pipeline.manager.baselines import NoMemory, RawChunks
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.sentences import sentences
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.memory import Insert, Skip, format_operations
from finemem_pipeline.pipelines.compare import maps
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.probes import Sample
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.rewards import score_group, variance_shares, variant
from finemem_pipeline.rollouts import Completion
from finemem_pipeline.training.played import PlayedGroup


def cell(score, questions=8, unscored=0, tokens=40.0):
    scored = int(score is not None)
    return {
        "score": score,
        "memory_tokens": tokens,
        "questions": questions,
        "unscored": unscored,
        "streams": 4 * scored,
        "unscored_streams": 4 - 4 * scored,
        "sources": scored,
        "unscored_sources": 1 - scored,
        "question_mean": score,
        "published": score,
        "published_question_mean": score,
    }


def spent(calls, tokens_in, tokens_out):
    return {"calls": calls, "tokens_in": tokens_in, "tokens_out": tokens_out, "seconds": 1.5}


def row(manager, scores, tokens, reach=0.05):
    known = [score for score in scores.values() if score is not None]
    mean = cell(sum(known) / len(known) if known else None, 16, 1, tokens)
    mean |= {"sources": len(known), "unscored_sources": len(scores) - len(known)}
    interval = {"low": mean["score"] - reach, "high": mean["score"] + reach} if known else {"low": None, "high": None}
    return {
        "manager": manager,
        "mean": {**mean, **interval, "tokens_low": tokens - 1, "tokens_high": tokens + 1},
        "benchmarks": {"test": {**mean, **interval, "tokens_low": tokens - 1, "tokens_high": tokens + 1}},
        "sources": {source: cell(score, unscored=1, tokens=tokens) for source, score in scores.items()},
        "tasks": {"AR": cell(mean["score"], tokens=tokens)},
        "lengths": {"up to 4k": cell(mean["score"], tokens=tokens)},
        "cost": {"mean": {"write": spent(3, 900, 90), "read": spent(1, 60.5, 4)}},
        "rebuilds": 1,
        "training_seeds": 1,
        "conduct": {
            "steps": 12,
            "operations": {"insert": 9, "update": 2, "delete": 0, "skip": 3},
            "refused_share": 0.125,
            "malformed_share": None,
        },
    }


def difference(manager, mean, low, high):
    return {
        "manager": manager,
        "reference": "warm_started",
        "scope": "mean",
        "name": "",
        "mean": mean,
        "low": low,
        "high": high,
        "error": 0.04,
        "n_sources": 2,
        "n_streams": 8,
        "n_questions": 15,
        "unscored": 2,
        "level": 0.95,
        "excludes_zero": low is not None and (low > 0 or high < 0),
        "detectable": 0.112,
    }


@pytest.fixture
def evaluation():
    return {
        "version": 2,
        "managers": ["trained", "warm_started", "no_memory"],
        "references": ["warm_started"],
        "benchmarks": ["test"],
        "sources": ["squad", "mquake"],
        "columns": [
            {"benchmark": "test", "source": source, "task": "AR", "name": source} for source in ("squad", "mquake")
        ],
        "tasks": ["AR"],
        "rows": [
            row("trained", {"squad": 0.75, "mquake": 0.5}, 12345.0),
            row("warm_started", {"squad": 0.5, "mquake": None}, 38.0),
            row("no_memory", {"squad": 0.0, "mquake": 0.0}, 0.0, reach=0.0),
        ],
        "differences": [difference("trained", 0.125, 0.02, 0.23), difference("no_memory", -0.5, -0.9, 0.1)],
        "closed_book": [],
        "lengths": [{"name": "up to 4k", "streams": 8, "beyond": False}],
        "usage": {"questions": 51, "calls": 40, "hits": 3, "misses": 48, "unscored": 3},
        "bootstrap": {"resamples": 2000, "seed": 0, "level": 0.95},
        "definitions": {"score": "Mean of means.", "n": "Questions with a score."},
    }


@pytest.fixture
def curves():
    return [
        {
            "step": step,
            "reward/total": 1.0 + 0.1 * step,
            "reward/outcome": 0.1 * step,
            "share/outcome": None if step == 2 else 0.4,
            "operations/insert": 2.0,
            "groups/columns": 8.0,
            "groups/dead_columns": 2.0,
            "entropy": float("nan"),
        }
        for step in range(1, 6)
    ]


class Learner:
    """Writes each fact with a chance of `kept`, each sentence of small talk with one of `noise`."""

    def __init__(self, kept: float, noise: float, seed: int) -> None:
        self.kept, self.noise, self.chance, self.teacher = kept, noise, random.Random(seed), Teacher()

    def act(self, observations):
        return [Turn(Completion(self._reply(each))) for each in observations]

    def _reply(self, seen):
        facts = self.teacher.operations(seen)
        written = {getattr(operation, "text", None) for operation in facts}
        talk = [Insert(sentence) for sentence in sentences(seen.chunk.text) if sentence not in written]
        done = [each for each in facts if self.chance.random() < self.kept]
        done += [each for each in talk if self.chance.random() < self.noise]
        reply = format_operations(done or [Skip()])
        return reply if self.chance.random() < 0.95 else reply[:-3]


VARIANTS = {
    "fine_mem": {
        "outcome": {"weight": 1.0, "spread": {"scheme": "retrieved", "beta": 0.5}},
        "chunk": {"weight": 0.5},
        "format": {"weight": 1.0},
        "compression": {"weight": 0.05},
    },
    "outcome_only": {
        "outcome": {"weight": 1.0, "spread": {"scheme": "uniform"}},
        "format": {"weight": 1.0},
        "compression": {"weight": 0.05},
    },
}


@dataclass(frozen=True)
class Compared:
    """What `write_comparison` is given."""

    document: dict[str, Any]
    maps: list[dict[str, Any]]


def words(text: str) -> int:
    return len(text.split())


def make_comparison(seeds=(0, 1), steps=12, chunks=6, held_out=8, siblings=4) -> Compared:
    """Two variants, of which the first learns faster and writes less small talk; the end of a score went missing."""
    spec = PlantedSpec(train=40, test=held_out, chunks=chunks, questions=6)
    train, test = list(generate(spec, "train")), list(generate(spec, "test"))
    reader, trainings = Reader(BM25(), ExtractiveReasoner()), []
    practised, finals = [], []
    for name, fields in VARIANTS.items():
        rewards, pace = variant(name, fields), 0.9 if name == "fine_mem" else 0.45
        for seed in seeds:
            child, updates = Child(name, seed), []
            for update in range(1, steps + 1):
                learned = pace * update / steps
                manager = Learner(0.15 + 0.75 * learned, 0.45 - 0.4 * learned, 1000 * seed + update)
                chosen = [train[(3 * update + seed + place) % len(train)] for place in range(2)]
                groups = play(chosen, manager, reader, words, siblings=siblings)
                scores = [score_group(group, rewards) for group in groups]
                shares = {term: share for term, share in variance_shares(scores).items() if share}
                results = practice(name, seed, update, groups, {each.id: each for each in chosen})
                updates.append(Update(update, shares, tuple(results)))
                if update in (1, steps):
                    for episode, group, score in zip(chosen, groups, scores, strict=True):
                        advantages = tuple(tuple(row) for row in score.advantages.tolist())
                        practised += maps.of_update(child, rewards, update, episode, PlayedGroup(group, advantages))
            final = Learner(0.15 + 0.75 * pace, 0.45 - 0.4 * pace, seed)
            groups = play(test, final, reader, words, ask_chunks=False)
            found = results_from_rollouts("trained", test, groups, training_seed=seed)
            trainings.append(Training(name, seed, updates, found))
            for episode, group in zip(test, groups, strict=True):
                finals.append(maps.of_held_out(child, rewards, episode, group.rollouts[0], reader, Sample()))
    others = [
        result
        for name, manager in (
            ("warm_started", Learner(0.2, 0.4, 7)),
            ("raw_chunks", RawChunks()),
            ("no_memory", NoMemory()),
        )
        for result in results_from_rollouts(name, test, play(test, manager, reader, words, ask_chunks=False))
    ]
    return Compared(compare_trainings(trainings, others, steps, resamples=200), finals + practised)


@pytest.fixture(scope="session")
def compared() -> Compared:
    return make_comparison(steps=4, chunks=4, held_out=3, siblings=2)
