from __future__ import annotations

import numpy as np
import pytest

from finemem_pipeline.study.lessons import summarise, until

REACHED = {
    "updates_to_goal": 20,
    "calls_to_goal": 200,
    "questions_to_goal": 400,
    "tokens_at_goal": 90.0,
    "updates_to_facts": 10,
    "calls_to_facts": 100,
}
NEVER = dict.fromkeys(REACHED)


def run(variant: str, steps: int, seed: int, score: float, tokens: float = 100.0, **more: object) -> dict[str, object]:
    marks = {"attainable": 0.8, "mean_score": score / 2, "peak_score": 0.7, "final_kept": 0.5, "final_corrected": None}
    curve = [{"update": 0, "score": 0.0, "tokens": 0.0}, {"update": 5, "score": score, "tokens": tokens}]
    ends = {"final_score": score, "final_tokens": tokens, "collapsed": None, "curve": curve}
    return {"variant": variant, "steps": steps, "seed": seed, **marks, **REACHED, **ends, **more}


def test_a_run_without_the_goal_counts_as_later_than_any_other():
    rows = [{"updates": updates} for updates in (10, None, 30, None, 20)]
    found = until(rows, "updates")
    assert (found["median"], found["first_quartile"], found["third_quartile"], found["high"]) == (30, 20, None, None)
    assert until([{"updates": None}], "updates")["median"] is None


def test_a_summary_counts_what_has_no_number():
    rows = [run("a", 5, 0, 0.7), run("a", 5, 1, 0.1, collapsed="fell", **NEVER), run("a", 10, 0, 0.6)]
    two, one = summarise(rows)["runs"]
    assert (two["variant"], two["steps"], two["runs"], two["censored"], two["collapsed"]) == ("a", 5, 2, 1, {"fell": 1})
    assert two["final_score"]["mean"] == pytest.approx(0.4)
    assert two["final_score"]["spread"] == pytest.approx(0.6 / np.sqrt(2))
    assert two["tokens_at_goal"] == {"mean": 90.0, "low": None, "high": None, "spread": None, "n": 1, "missing": 1}
    assert two["final_corrected"]["mean"] is None
    assert two["curve"] == [
        {"update": 0, "score": 0.0, "tokens": 0.0},
        {"update": 5, "score": pytest.approx(0.4), "tokens": 100.0},
    ]
    assert (one["steps"], one["updates_to_goal"]["median"], one["collapsed"]) == (10, 20.0, {})


def test_variants_are_compared_seed_by_seed():
    rows = [
        run("a", 5, 0, 0.9, tokens=50.0),
        run("a", 5, 1, 0.5, tokens=70.0),
        run("b", 5, 1, 0.3),
        run("b", 5, 0, 0.8),
    ]
    [found] = summarise(rows, [("a", "b"), ("a", "c")])["differences"]
    assert (found["variant"], found["reference"], found["steps"]) == ("a", "b", 5)
    assert found["final_score"]["mean"] == pytest.approx(0.15)  # (0.1 + 0.2)/2, whatever the order of the rows
    assert 0.1 - 1e-9 <= found["final_score"]["low"] <= found["final_score"]["high"] <= 0.2 + 1e-9
    assert found["final_tokens"]["mean"] == -40.0
    assert (found["final_corrected"]["n"], found["final_corrected"]["missing"]) == (0, 2)
