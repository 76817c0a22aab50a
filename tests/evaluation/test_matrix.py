from __future__ import annotations

import json

import pytest

from finemem_pipeline.evaluation.matrix import CellResults, join


@pytest.fixture
def cell(stream):
    """A cell whose policy gains `gain` on each of its streams, over a warm start of .5."""

    def make(backbone, reader, *gains, unscored=False):
        scored = [
            each
            for place, gain in enumerate(gains)
            for each in (
                stream([None if unscored else 0.5 + gain] * 2, stream=f"s{place}"),
                stream([0.5] * 2, manager="warm_started", stream=f"s{place}"),
                stream([0.0] * 2, manager="no_memory", stream=f"s{place}"),
            )
        ]
        return CellResults(backbone, reader, tuple(scored))

    return make


def test_the_document_is_json_with_a_table_for_every_cell(cell):
    matrix = join([cell("big", "strict", 0.25), cell("big", "lenient", 0.5)], resamples=50)
    assert json.loads(json.dumps(matrix, allow_nan=False)) == matrix
    assert (matrix["backbones"], matrix["readers"]) == (["big"], ["strict", "lenient"])
    assert matrix["managers"] == ["trained", "warm_started", "no_memory"]
    assert [each["evaluation"]["rows"][0]["mean"]["score"] for each in matrix["cells"]] == [0.75, 1.0]


def test_the_gain_is_trained_less_warm_started_question_by_question(cell):
    [found] = join([cell("big", "strict", 0.25, 0.0)], resamples=200)["cells"]
    gain = found["gain"]
    assert (gain["manager"], gain["reference"], gain["mean"]) == ("trained", "warm_started", 0.125)
    assert (gain["n_questions"], gain["n_streams"]) == (4, 2)
    assert gain["low"] <= 0.125 <= gain["high"]


@pytest.mark.parametrize(
    ("gains", "holds"),
    [((0.1, 0.2), True), ((-0.1, -0.2), True), ((0.1, -0.2), False), ((0.1, 0.0), False), ((0.0, 0.0), False)],
)
def test_the_sign_holds_where_every_cell_has_the_same(cell, gains, holds):
    matrix = join([cell(f"b{place}", "strict", gain) for place, gain in enumerate(gains)], resamples=20)
    assert matrix["holds"] is holds


def test_a_cell_that_nobody_could_score_has_no_sign_and_breaks_it(cell):
    matrix = join([cell("big", "strict", 0.25), cell("small", "strict", 0.25, unscored=True)], resamples=20)
    assert matrix["signs"] == {
        "above": 1, "clearly_above": 1, "below": 0, "clearly_below": 0, "level": 0, "unscored": 1,
    }  # fmt: skip
    assert matrix["cells"][1]["gain"]["mean"] is None
    assert matrix["holds"] is False


def test_a_gain_is_clear_where_its_interval_excludes_nothing_gained(cell):
    sure, unsure = cell("big", "strict", 0.25, 0.25), cell("small", "strict", 0.5, -0.25)
    signs = join([sure, unsure], resamples=200)["signs"]
    assert (signs["above"], signs["clearly_above"]) == (2, 1)
