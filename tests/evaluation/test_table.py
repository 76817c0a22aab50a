import json

import pytest

from finemem_pipeline.errors import FinememError
from finemem_pipeline.evaluation import evaluate_table


def managers(stream):
    return [
        stream([1.0, 1.0], manager="trained", stream="s1", tokens=40, insert=4, refused=1, malformed=1),
        stream([0.5], manager="trained", source="mquake", task="CR", stream="m1", tokens=60),
        stream([0.0, 1.0], manager="untrained", stream="s1", tokens=0),
        stream([None], manager="untrained", source="mquake", task="CR", stream="m1", tokens=10),
    ]


def test_the_document_is_json_and_keeps_the_order_of_the_managers(stream):
    table = evaluate_table(managers(stream), "untrained", resamples=50)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert table["managers"] == ["trained", "untrained"]
    assert (table["sources"], table["tasks"]) == (["squad", "mquake"], ["AR", "CR"])


def test_every_mean_stands_beside_what_it_rests_on(stream):
    trained, untrained = evaluate_table(managers(stream), "untrained", resamples=50)["rows"]
    assert (trained["mean"]["score"], trained["mean"]["memory_tokens"]) == (0.75, 50)
    assert trained["mean"]["question_mean"] == 2.5 / 3
    assert untrained["sources"]["mquake"] == {
        "score": None,
        "memory_tokens": 10,
        "questions": 0,
        "unscored": 1,
        "streams": 0,
        "unscored_streams": 1,
        "sources": 0,
        "unscored_sources": 1,
        "question_mean": None,
        "published": None,
        "published_question_mean": None,
    }
    assert (untrained["mean"]["score"], untrained["mean"]["unscored_sources"]) == (0.5, 1)
    assert untrained["tasks"]["CR"]["score"] is None


def test_differences_are_against_the_reference_for_the_mean_and_for_every_source_and_task(stream):
    table = evaluate_table(managers(stream), "untrained", resamples=50)
    found = {(d["scope"], d["name"]): d for d in table["differences"]}
    assert list(found) == [("mean", ""), ("source", "squad"), ("source", "mquake"), ("task", "AR"), ("task", "CR")]
    assert all((d["manager"], d["reference"]) == ("trained", "untrained") for d in found.values())
    assert (found["mean", ""]["mean"], found["mean", ""]["unscored"]) == (0.5, 1)  # squad alone is scored by both
    assert (found["source", "mquake"]["mean"], found["source", "mquake"]["excludes_zero"]) == (None, False)


def test_two_references_give_two_sets_of_differences(stream):
    table = evaluate_table(managers(stream), ["untrained", "trained"], resamples=50)
    pairs = [(d["manager"], d["reference"], d["mean"]) for d in table["differences"] if d["scope"] == "mean"]
    assert pairs == [("trained", "untrained", 0.5), ("untrained", "trained", -0.5)]


def test_conduct_counts_what_was_written(stream):
    trained, untrained = evaluate_table(managers(stream), "trained", resamples=50)["rows"]
    assert trained["conduct"] == {
        "steps": 4,
        "operations": {"insert": 4, "update": 0, "delete": 0, "skip": 0},
        "refused_share": 0.25,
        "malformed_share": 0.2,
    }
    assert untrained["conduct"]["refused_share"] is None


def test_an_unknown_reference_is_named_with_its_nearest_neighbour(stream):
    with pytest.raises(FinememError, match="Did you mean 'untrained'"):
        evaluate_table(managers(stream), "untraned")
