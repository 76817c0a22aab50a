from __future__ import annotations

import json

from finemem_pipeline.evaluation.practice import Update
from finemem_pipeline.evaluation.variants import Training, compare_trainings

QUESTIONS = 12


def training(stream, variant, seed, score):
    results = [
        stream([score] * QUESTIONS, stream=name, training_seed=seed, tokens=10.0 * (seed + 1)) for name in ("s1", "s2")
    ]
    updates = [Update(1, {"outcome": 1.0}, (stream([score], stream="1.0 s", training_seed=seed),))]
    return Training(variant, seed, updates, results)


def others(stream, *names):
    return [stream([0.25] * QUESTIONS, manager=manager, stream=name) for manager in names for name in ("s1", "s2")]


def test_every_variant_is_a_row_over_its_seeds_compared_with_the_last_one_and_with_the_warm_start(stream):
    trainings = [
        training(stream, variant, seed, score)
        for variant, scores in (("fine_mem", (0.75, 1.0)), ("outcome_only", (0.5, 0.5)))
        for seed, score in enumerate(scores)
    ]
    found = compare_trainings(trainings, others(stream, "warm_started", "no_memory"), 1, resamples=50)
    table = found["table"]
    assert (found["variants"], found["seeds"]) == (["fine_mem", "outcome_only"], [0, 1])
    assert table["managers"] == ["fine_mem", "outcome_only", "warm_started", "no_memory"]
    assert table["references"] == ["outcome_only", "warm_started"]
    [first, *_] = table["rows"]
    assert (first["mean"]["score"], first["mean"]["memory_tokens"], first["training_seeds"]) == (0.875, 15.0, 2)
    overall = {(d["manager"], d["reference"]): d["mean"] for d in table["differences"] if d["scope"] == "mean"}
    assert overall["fine_mem", "outcome_only"] == 0.375
    assert overall["outcome_only", "warm_started"] == 0.25
    assert [
        (row["variant"], row["seed"], row["score"], row["questions"], row["unscored"]) for row in found["trainings"]
    ] == [
        ("fine_mem", 0, 0.75, 24, 0),
        ("fine_mem", 1, 1.0, 24, 0),
        ("outcome_only", 0, 0.5, 24, 0),
        ("outcome_only", 1, 0.5, 24, 0),
    ]
    assert [point["score"] for point in found["curves"]["fine_mem"]] == [0.875]


def test_a_single_variant_is_compared_with_the_warm_start_or_stands_alone(stream):
    alone = [training(stream, "fine_mem", 0, 0.5)]
    assert compare_trainings(alone, others(stream, "warm_started"), 1, resamples=5)["table"]["references"] == [
        "warm_started"
    ]
    assert compare_trainings(alone, [], 1, resamples=5)["table"]["references"] == ["fine_mem"]


def test_what_differs_from_run_to_run_stays_out(stream):
    found = compare_trainings([training(stream, "fine_mem", 0, 0.5)], [], 1, resamples=5)
    assert "seconds" not in json.dumps(found["table"]["rows"])
