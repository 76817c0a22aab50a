"""`evaluate` by itself: benchmarks by name, an estimate, a run that goes on, seeds."""

from __future__ import annotations

import csv
import sqlite3

import pytest


def said(project, name: str) -> str:
    return " ".join(project.outcomes[name].output.split())


def test_a_dry_run_prints_an_estimate_and_plays_nothing(untrained):
    dry = untrained.outcomes["dry"]
    assert (dry.code, dry.error) == (0, "None")
    lines = [line.split(":")[0] for line in dry.output.splitlines() if line and line[0].islower()]
    assert lines[:6] == ["streams", "manager calls", "reader calls", "tokens", "hours", "money"]
    assert "Running node: play_held_out" not in said(untrained, "dry")
    made = {path for path in dry.files if not path.startswith("data/06_models/base")}
    assert {path for path in made if "held_out_docs" not in path} == {
        "data/02_intermediate/held_out.json",
        "data/08_reporting/estimate.json",
    }


def test_a_dry_run_of_all_pipelines_is_refused(untrained):
    assert untrained.outcomes["dry_all"].code == 1
    assert "kedro run --pipelines=evaluate --params=evaluation.dry_run=true" in said(untrained, "dry_all")


def test_two_benchmarks_are_evaluated_without_any_training_and_not_merged(untrained):
    assert untrained.outcomes["first"].code == 0, said(untrained, "first")[-2000:]
    table = untrained.json("data/08_reporting/evaluation.json")  # of the last run that ended well
    assert table["benchmarks"] == ["mine", "more"]
    assert set(table["sources"]) == {"mine/squad", "mine/mquake", "more/squad"}
    rows = {row["manager"]: row for row in table["rows"]}
    assert rows["raw_chunks"]["sources"]["mine/squad"]["streams"] == 1
    assert rows["no_memory"]["mean"]["memory_tokens"] == 0


def test_what_was_played_before_is_not_played_again(untrained):
    first, more = untrained.outcomes["first"].files, untrained.outcomes["more"].files
    played = {path for path in first if "/played/" in path}
    assert len(played) == 3 * 2  # managers × batches: one of each benchmark
    assert {path: more[path] for path in played} == {path: first[path] for path in played}
    assert len({path for path in more if "/played/untrained-" in path}) == 2


def test_the_base_model_needs_no_training_and_its_cost_is_counted(untrained):
    [row] = [
        row for row in untrained.json("data/08_reporting/evaluation.json")["rows"] if row["manager"] == "untrained"
    ]
    streams, questions = row["mean"]["streams"], row["mean"]["questions"]
    assert row["cost"]["mean"]["write"]["calls"] == pytest.approx(2 * streams / questions)  # chunks over questions
    assert row["cost"]["mean"]["write"]["tokens_in"] > 0
    assert row["cost"]["mean"]["read"]["calls"] == 1


def test_the_table_of_record_is_a_page_and_a_csv_and_both_are_in_mlflow(untrained):
    with (untrained.folder / "data/08_reporting/table.csv").open(encoding="utf-8", newline="") as sheet:
        rows = [row for row in csv.DictReader(sheet) if row["origin"] == "ours" and row["scorer"] == "fixed"]
    assert [(row["table"], row["method"]) for row in rows] == [
        (table, manager)
        for table in ("mine", "more")
        for manager in ("raw_chunks", "sentences", "no_memory", "untrained")
    ]
    logged = {path.name for path in (untrained.folder / "mlartifacts").rglob("*") if path.is_file()}
    assert {"table.html", "table.csv", "estimate.json", "evaluation.json"} <= logged


def test_an_unknown_benchmark_is_told_with_the_nearest_one(untrained):
    assert "evaluation.benchmarks: 'mroe' is not a known benchmark. Did you mean 'more'?" in said(untrained, "unknown")
    assert "Running node" not in untrained.outcomes["unknown"].output


@pytest.mark.parametrize(
    ("name", "missing", "pipeline"),
    [
        ("trained", "train_episodes, training_summary, warm_start", "data,train"),
        ("test", "input_record, test_episodes", "data"),
    ],
)
def test_what_a_manager_or_a_benchmark_needs_is_told_before_the_first_node(untrained, name, missing, pipeline):
    assert untrained.outcomes[name].code == 1
    assert f"{missing}: not there yet" in said(untrained, name)
    assert f"--pipelines={pipeline}" in said(untrained, name)
    assert "Running node" not in untrained.outcomes[name].output


def test_policies_of_several_trainings_are_rebuilt_with_several_seeds(ran):
    assert ran.outcomes["seeds"].code == 0, said(ran, "seeds")[-2000:]
    with sqlite3.connect(f"file:{ran.folder / 'mlflow.db'}?mode=ro", uri=True) as store:
        [(run,)] = store.execute("SELECT run_uuid FROM runs ORDER BY start_time LIMIT 1 OFFSET 6")
    [document] = (ran.folder / "mlartifacts").rglob(f"{run}/artifacts/evaluation.json")
    rows = {row["manager"]: row for row in ran.json(document)["rows"]}
    assert [(name, row["rebuilds"], row["training_seeds"]) for name, row in rows.items()] == [
        ("trained", 3, 2),
        ("warm_started", 3, 2),
        ("no_memory", 1, 1),
    ]
    assert rows["trained"]["mean"]["streams"] == rows["no_memory"]["mean"]["streams"] == 3
