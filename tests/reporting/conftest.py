"""An evaluation document and training curves, small and by hand."""

from __future__ import annotations

import pytest


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
