from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from finemem_pipeline.benchmarks.planted import SPLITS, PlantedSpec, generate
from finemem_pipeline.episodes import TASKS, Episode
from finemem_pipeline.errors import DataError
from finemem_pipeline.metrics import METRICS
from finemem_pipeline.validation.expectations import estimated_tokens, read_suites, validate_sets

Sets = dict[str, list[Episode]]


@pytest.fixture
def sets() -> Sets:
    spec = PlantedSpec(train=4, dev=2, test=3)
    return {split: list(generate(spec, split)) for split in SPLITS}


@pytest.fixture(scope="module")
def suites(project: Path) -> dict[str, list[dict[str, Any]]]:
    return read_suites(project / "conf/base/expectations")


def broken(sets: Sets, suites: dict[str, list[dict[str, Any]]], docs: Path) -> str:
    with pytest.raises(DataError) as caught:
        validate_sets(sets, suites, docs)
    return str(caught.value)


def test_good_sets_pass_and_their_docs_replace_the_old_ones(
    sets: Sets, suites: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    docs = tmp_path / "reports" / "docs"
    docs.mkdir(parents=True)
    (docs / "stale.html").write_text("old")
    result = validate_sets(sets, suites, docs)
    assert result["sets"]["train"] == {"streams": 4, "chunks": 12, "questions": 4 * (5 + 6)}
    assert result["expectations"] == 3 * sum(map(len, suites.values()))
    assert result["warnings"] == []
    assert result["docs"] == str(docs / "index.html")
    assert "train" in (docs / "index.html").read_text()
    assert not (docs / "stale.html").exists()
    assert [each.name for each in docs.parent.iterdir()] == ["docs"]


def test_a_stream_of_the_training_set_elsewhere_is_found_by_id_and_by_content(
    sets: Sets, suites: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    renamed = replace(sets["train"][1], id="other")
    retold = replace(sets["test"][0], id=sets["train"][2].id)
    said = broken({**sets, "test": [renamed, retold]}, suites, tmp_path / "docs")
    assert "test.streams: expect_column_values_to_be_null(column=trained_text) failed for 1 of 2 rows: id=other" in said
    assert f"(column=trained_id) failed for 1 of 2 rows: id={retold.id}" in said
    assert "train.streams" not in said
    assert (tmp_path / "docs" / "index.html").is_file()


def test_repeated_ids_empty_chunks_and_unknown_metrics_are_named_with_their_rows(
    sets: Sets, suites: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    first, second, third, *_ = sets["train"]
    blank = replace(first.chunks[0], text=" \n")
    question = replace(second.questions[0], metric="bleu", id=second.questions[1].id)
    train = [
        replace(first, chunks=(blank, *first.chunks[1:])),
        replace(second, questions=(question, *second.questions[1:])),
        replace(third, id=first.id, questions=()),
    ]
    said = broken({**sets, "train": train}, suites, tmp_path / "docs")
    for expected in (
        f"train.streams: expect_column_values_to_be_unique(column=id) failed for 2 of 3 rows: id={first.id}",
        "train.streams: expect_column_values_to_be_between(column=questions",
        f"train.chunks: expect_column_values_to_be_between(column=chars, min_value=1.0) failed for 1 of 9 rows: "
        f"stream={first.id}, index=0",
        "train.questions: expect_column_values_to_be_in_set(column=metric",
        "train.questions: expect_compound_columns_to_be_unique(column_list=['stream', 'id']) failed for 2 of",
        f"stream={second.id}, id={second.questions[1].id}",
    ):
        assert expected in said


def test_warnings_do_not_fail(sets: Sets, tmp_path: Path) -> None:
    wish = {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "tokens", "min_value": 1000}}
    result = validate_sets(sets, {"chunks": [{**wish, "severity": "warning"}]}, tmp_path / "docs")
    assert len(result["warnings"]) == 3
    assert "train.chunks: expect_column_mean_to_be_between(column=tokens" in result["warnings"][0]
    assert "failed: observed " in result["warnings"][0]


def test_a_suite_that_cannot_be_run_names_all_its_faults_before_anything_is_written(sets: Sets, tmp_path: Path) -> None:
    suites = {
        "streems": [],
        "chunks": [
            {"type": "expect_column_values_to_be_uniq", "kwargs": {"column": "charz"}, "severity": "mild", "x": 1}
        ],
    }
    said = broken(sets, suites, tmp_path / "docs")
    for expected in (
        "'streems' is not a known table. Did you mean 'streams'?",
        "Did you mean 'expect_column_values_to_be_unique'?",
        "expectations.chunks[0]: 'charz' is not a known column. Did you mean 'chars'?",
        "'mild' is not a known severity",
        "'x' is not a known key",
    ):
        assert expected in said
    assert list(tmp_path.iterdir()) == []


def test_missing_and_malformed_suites_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no expectations here"):
        read_suites(tmp_path)
    (tmp_path / "streams.yml").write_text("type: expect")
    with pytest.raises(DataError, match=r"streams\.yml: expected a list of expectations"):
        read_suites(tmp_path)
    (tmp_path / "streams.yml").write_text("- [")
    with pytest.raises(DataError, match=r"streams\.yml: not YAML"):
        read_suites(tmp_path)


def test_tokens_are_a_fourth_of_the_characters_where_no_tokenizer_is_given() -> None:
    assert [estimated_tokens(text) for text in ("", "abcd", "abcde")] == [0, 1, 2]


def test_the_shipped_suites_know_every_metric_and_task(project):
    def allowed(table: str, column: str) -> set[str]:
        suite = yaml.safe_load((project / f"conf/base/expectations/{table}.yml").read_text(encoding="utf-8"))
        [found] = [each for each in suite if each["type"].endswith("_in_set") and each["kwargs"]["column"] == column]
        return set(found["kwargs"]["value_set"])

    assert allowed("questions", "metric") == set(METRICS)
    assert allowed("streams", "task") == set(TASKS)
