from __future__ import annotations

from dataclasses import replace

import pytest

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.evaluation.practice import Update, curve, decode_updates, encode_updates, practice, shares
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25


def update(number, streams, steered=None):
    return Update(number, steered or {}, tuple(streams))


def test_only_the_questions_that_were_asked_count():
    [episode] = generate(PlantedSpec(train=1), "train")
    asked = episode.questions[1:3]
    reader = Reader(BM25(), ExtractiveReasoner())
    groups = play([episode, episode], Teacher(), reader, len, siblings=2, questions=lambda _: asked)
    found = practice("fine_mem", 3, 5, groups, {episode.id: episode})
    assert [(each.stream, each.seed, each.training_seed) for each in found] == [
        (f"5.0 {episode.id}", 0, 3),
        (f"5.0 {episode.id}", 1, 3),
        (f"5.1 {episode.id}", 0, 3),
        (f"5.1 {episode.id}", 1, 3),
    ]
    assert {tuple(question.question for question in each.questions) for each in found} == {tuple(q.id for q in asked)}


def test_a_point_is_the_mean_over_streams_with_what_it_rests_on(stream):
    one = [stream([1.0, 0.0], stream="1.0 a", seed=0, insert=4), stream([1.0, None], stream="1.0 a", seed=1, insert=2)]
    two = [stream([0.0], stream="1.0 b", seed=0, tokens=50, skip=2, insert=0)]
    [point] = curve([[update(1, one)], [update(1, [replace(each, training_seed=1) for each in two])]], 1, resamples=20)
    assert (point["first"], point["last"]) == (1, 1)
    assert point["score"] == pytest.approx((0.5 + 0.0) / 2)  # (1 + 0) / 2 of the first stream: siblings are averaged
    assert (point["n"], point["unscored"], point["streams"], point["rollouts"], point["seeds"]) == (4, 1, 2, 3, 2)
    assert point["memory_tokens"] == 75
    assert point["operations"] == {"insert": 1.0, "update": 0.0, "delete": 0.0, "skip": pytest.approx(1 / 3)}
    assert point["low"] <= point["score"] <= point["high"]


def test_a_long_training_is_told_in_points_over_equally_many_updates(stream):
    updates = [update(n, [stream([n % 2 / 1], stream=f"{n}.0 a")]) for n in range(1, 8)]
    points = curve([updates], 7, points=3, resamples=10)
    assert [(point["first"], point["last"], point["n"]) for point in points] == [(1, 3, 3), (4, 6, 3), (7, 7, 1)]
    assert [point["score"] for point in points] == pytest.approx([2 / 3, 1 / 3, 1.0])


def test_an_update_without_any_score_has_no_mean_and_says_how_many_are_missing(stream):
    [point] = curve([[update(1, [stream([None, None])])]], 1, resamples=10)
    assert (point["score"], point["low"], point["high"], point["n"], point["unscored"]) == (None, None, None, 0, 2)


def test_shares_are_means_over_the_updates_that_had_any(stream):
    updates = [update(1, [stream([1.0])], {"outcome": 0.2}), update(2, [stream([1.0])])]
    [point] = curve([updates, [update(1, [stream([0.0])], {"outcome": 0.4, "chunk": 0.6})]], 2, points=1, resamples=10)
    assert point["shares"] == {
        "outcome": {"mean": pytest.approx(0.3), "n": 2},
        "chunk": {"mean": pytest.approx(0.6), "n": 1},
    }


def test_the_shares_of_an_update_are_those_that_are_known():
    metrics = {"step": 1, "share/outcome": 0.25, "share/chunk": None, "reward/total": 1.0}
    assert shares(metrics) == {"outcome": 0.25}


def test_updates_read_back_as_they_were_written(stream):
    updates = [update(1, [stream([1.0, None], training_seed=2)], {"outcome": 0.5})]
    assert decode_updates(encode_updates(updates)) == updates
