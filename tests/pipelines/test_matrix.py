"""`matrix`: every backbone trained once, its streams played once, and read by every reader."""

from __future__ import annotations

import csv
import sqlite3

CELLS = [(backbone, reader) for reader in ("extractive", "smollm2") for backbone in ("tiny", "tiny_all_weights")]
MANAGERS = ["trained", "warm_started", "untrained", "raw_chunks", "no_memory"]


def said(project, name: str) -> str:
    return " ".join(project.outcomes[name].output.split())


def test_every_backbone_is_read_by_every_reader(matrix):
    assert matrix.outcomes["first"].code == 0, said(matrix, "first")[-3000:]
    with (matrix.folder / "data/08_reporting/matrix.csv").open(encoding="utf-8", newline="") as sheet:
        rows = [row for row in csv.DictReader(sheet) if row["reader"] != "wide"]
    assert [(row["backbone"], row["reader"], row["manager"]) for row in rows] == [
        (*cell, manager) for cell in CELLS for manager in MANAGERS
    ]
    assert {int(row["n"]) + int(row["unscored"]) for row in rows} == {int(rows[0]["n"]) + int(rows[0]["unscored"])}
    assert [row["score"] for row in rows if row["manager"] == "no_memory" and row["reader"] == "extractive"] == [
        "0"
    ] * 2


def test_a_policy_is_played_once_however_many_read_it(matrix):
    played = sorted(
        path.rpartition("/")[2].rpartition("-")[0] for path in matrix.outcomes["one_more"].files if "/played/" in path
    )
    # 3 test streams, 2 at a time; the backbones have the same base model, which plays as one
    each = {"trained": 2, "warm_started": 2, "untrained": 1, "raw_chunks": 1, "no_memory": 1}
    assert played == sorted(name for name, backbones in each.items() for _ in range(2 * backbones))


def test_one_reader_more_is_asked_and_nothing_is_trained_or_played_again(matrix):
    table = matrix.json("data/08_reporting/matrix.json")
    assert table["readers"] == ["extractive", "smollm2", "wide"]
    assert len(table["cells"]) == 6
    first, one_more = matrix.outcomes["first"].files, matrix.outcomes["one_more"].files
    weights = {path for path in first if path.endswith(".safetensors") and "/base/" not in path}
    assert weights
    assert {path: one_more[path] for path in weights} == {path: first[path] for path in weights}
    assert {path for path in one_more if "/played/" in path} == {path for path in first if "/played/" in path}


def test_cells_of_several_backbones_share_the_streams_and_pair_by_question(matrix):
    table = matrix.json("data/08_reporting/matrix.json")
    for cell in table["cells"]:
        gain = cell["gain"]
        assert (gain["manager"], gain["reference"], gain["scope"]) == ("trained", "warm_started", "mean")
        assert gain["n_streams"] == 3
    signs = table["signs"]
    assert signs["above"] + signs["below"] + signs["level"] + signs["unscored"] == 6


def test_metrics_of_backbones_are_told_apart_in_mlflow(matrix):
    with sqlite3.connect(f"file:{matrix.folder / 'mlflow.db'}?mode=ro", uri=True) as store:
        keys = {key for (key,) in store.execute("SELECT DISTINCT key FROM metrics")}
    assert {f"train/{backbone}/seed_0/reward/total" for backbone in ("tiny", "tiny_all_weights")} <= keys
    assert {"matrix/tiny/smollm2/trained/score", "matrix/tiny_all_weights/extractive/gain/mean"} <= keys
    logged = {path.name for path in (matrix.folder / "mlartifacts").rglob("*") if path.is_file()}
    assert {"matrix.html", "matrix.csv", "matrix.json"} <= logged


def test_the_result_ends_on_the_terminal(matrix):
    assert "Matrix: " in said(matrix, "first")
    assert "all cells: against warm_started, trained is" in said(matrix, "first")
