from __future__ import annotations

import copy
import csv
from io import StringIO

import pytest

from finemem_pipeline.reporting.matrix import gains_plot, matrix_csv, matrix_grids, verdict, write_matrix


@pytest.fixture
def matrix(evaluation):
    other = copy.deepcopy(evaluation)
    other["differences"][0] |= {"mean": -0.0625, "low": -0.125, "high": 0.03, "excludes_zero": False}
    cells = [
        {"backbone": "big", "reader": reader, "evaluation": each, "gain": each["differences"][0]}
        for reader, each in (("strict", evaluation), ("<lenient>", other))
    ]
    return {
        "backbones": ["big"],
        "readers": ["strict", "<lenient>"],
        "managers": ["trained", "warm_started", "no_memory"],
        "benchmarks": ["test"],
        "cells": cells,
        "signs": {"above": 1, "clearly_above": 1, "below": 1, "clearly_below": 0, "level": 0, "unscored": 0},
        "holds": False,
    }


def test_a_row_is_a_cell_with_its_gain_and_what_could_have_been_seen(matrix):
    scores, counts, tokens = matrix_grids(matrix)
    assert scores.head == ("backbone · reader", "trained", "warm_started", "no_memory", "gain")
    assert scores.rows == (
        ("big · strict", "0.625", "0.500", "0.000", "+0.125 [+0.020, +0.230]*"),
        ("big · <lenient>", "0.625", "0.500", "0.000", "−0.062 [−0.125, +0.030]"),
    )
    assert counts.rows[0] == ("big · strict", "16+1", "16+1", "16+1", "15 of 8 streams", "0.112")
    assert tokens.rows[0] == ("big · strict", "12.3k", "38", "0")


def test_the_sentence_counts_signs_and_does_not_call_every_gain_sure(matrix):
    assert verdict(matrix) == (
        "The sign does not hold over all cells: against warm_started, trained is above in 1 of 2 (1 with an interval "
        "that excludes 0), below in 1 of 2 (0 with an interval that excludes 0)"
    )
    same = {**matrix, "holds": True, "signs": {**matrix["signs"], "above": 2, "below": 0}}
    assert verdict(same).startswith(
        "The sign holds over all cells: against warm_started, trained is above in 2 of 2 (1 "
    )


def test_the_csv_has_a_row_for_every_cell_and_manager(matrix):
    rows = list(csv.DictReader(StringIO(matrix_csv(matrix))))
    assert [(row["reader"], row["manager"]) for row in rows] == [
        (reader, manager) for reader in matrix["readers"] for manager in matrix["managers"]
    ]
    assert rows[3] | {"backbone": "", "low": "", "high": ""} == {
        "backbone": "", "reader": "<lenient>", "manager": "trained", "score": "0.625", "low": "", "high": "",
        "question mean": "0.625", "memory tokens": "12345", "n": "16", "unscored": "1", "difference": "-0.0625",
        "difference low": "-0.125", "difference high": "0.03", "detectable": "0.112", "rebuilds": "1",
        "training seeds": "1",
    }  # fmt: skip
    assert rows[1]["difference"] == ""  # warm_started is what the others are compared with


def test_a_cell_without_a_gain_is_a_dash_and_no_point(matrix):
    nothing = {"mean": None, "low": None, "high": None, "excludes_zero": False, "detectable": None}
    matrix["cells"][1]["gain"] = {**matrix["cells"][1]["gain"], **nothing}
    assert [grid.rows[1][-1] for grid in matrix_grids(matrix)[:2]] == ["–", "–"]
    assert gains_plot(matrix).svg.startswith("<svg")


def test_the_page_and_the_csv_stand_beside_each_other(matrix, tmp_path):
    page, sheet = write_matrix(tmp_path / "deep" / "matrix.html", matrix, {"seed": "0"})
    assert sheet.read_text("utf-8") == matrix_csv(matrix)
    text = page.read_text("utf-8")
    assert "The sign does not hold over all cells" in text
    assert "big · &lt;lenient&gt;" in text
    assert "<lenient>" not in text
    assert sorted(each.name for each in page.parent.iterdir()) == ["matrix.csv", "matrix.html"]
