from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from finemem_pipeline.benchmarks.realbench import write_episodes
from finemem_pipeline.config import CreditBenchConfig, DataConfig, ReaderConfig
from finemem_pipeline.pipelines.credit_bench.nodes import measure_fidelity
from finemem_pipeline.study.families import streams


def test_streams_that_changed_under_the_same_names_are_measured_anew(tmp_path: Path):
    bench = CreditBenchConfig(habits=["copier"], schemes=["uniform"], seeds=1, orders=2, folder=tmp_path / "rows")
    reader = ReaderConfig()
    [episode] = streams("clean", 3, seed=0)
    [other] = streams("clean", 3, seed=1)
    found = []
    for name, each in (("first", episode), ("second", replace(other, id=episode.id, source=episode.source))):
        write_episodes(tmp_path / name / "test.jsonl", [each])
        found.append(measure_fidelity(bench, DataConfig(source="realbench", path=tmp_path / name), reader))
    assert [row["stream"] for rows in found for row in rows] == [episode.id, episode.id]
    assert len(list((tmp_path / "rows").iterdir())) == 2


def test_a_study_prints_its_tables_and_leaves_them_on_a_page_and_in_mlflow(bench):
    first = bench.outcomes["first"]
    assert (first.code, first.error) == (0, "None")
    for title in ("Credit against what caused the score: 8 rollouts", "How fast a variant teaches, T = 3", "lean"):
        assert title in " ".join(first.output.split())
    page = (bench.folder / "data/08_reporting/credit.html").read_text()
    assert "<h2>What it teaches</h2>" not in page  # the last study was of given streams
    with sqlite3.connect(bench.folder / "mlflow.db") as store:
        names = {name for (name,) in store.execute("select distinct key from metrics")}
    assert {"credit/cited/spearman_shapley", "credit/shapley/milliseconds", "learning/lean/T3/final_score"} <= names


def test_a_study_again_measures_nothing_and_says_the_same(bench):
    first, again = bench.outcomes["first"], bench.outcomes["again"]
    ledgers = [path for path in first.files if path.startswith("data/07_model_output/credit_bench/")]
    assert len(ledgers) == 3
    assert {path: again.files[path] for path in ledgers} == {path: first.files[path] for path in ledgers}


def test_given_streams_are_checked_and_nothing_is_learned_from_them(bench):
    assert bench.outcomes["given"].code == 0
    summary = json.loads((bench.folder / "data/08_reporting/credit.json").read_text())
    assert summary["learning"] is None
    assert summary["fidelity"]["episodes"] == 4  # a stream, two managers, two seeds


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("unknown", "'fine_men' is not a known reward variant. Did you mean 'fine_mem'?"),
        ("too_many", "reader.k: found 4, but the shapley of credit_bench.schemes takes 3 at most"),
    ],
)
def test_what_cannot_be_studied_is_told_before_the_first_node(bench, name, told):
    outcome = bench.outcomes[name]
    assert outcome.code == 1
    assert told in " ".join(outcome.output.split())
    assert "Running node" not in outcome.output
