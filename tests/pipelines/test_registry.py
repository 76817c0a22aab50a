from __future__ import annotations

import pytest
from kedro.pipeline import Pipeline

from finemem_pipeline.pipeline_registry import register_pipelines

PIPELINES = register_pipelines()


def test_the_pipelines_have_these_names():
    assert set(PIPELINES) == {"data", "qa_generation", "train", "evaluate", "matrix", "credit_bench", "__default__"}


def test_the_default_goes_from_raw_streams_to_the_table():
    parts = ("data", "qa_generation", "train", "evaluate")
    assert set(PIPELINES["__default__"].nodes) == set(sum((PIPELINES[name] for name in parts), Pipeline([])).nodes)


def test_every_node_is_named_after_its_function():
    for node in {node for pipeline in PIPELINES.values() for node in pipeline.nodes}:
        assert node.name == node.func.__name__


PARAMETERS = {"data", "questions", "reader", "rewards", "recipes", "training", "evaluation", "benchmarks"}


def test_a_run_needs_parameters_alone():
    assert PIPELINES["__default__"].inputs() == {f"params:{section}" for section in PARAMETERS}


@pytest.mark.parametrize(
    ("name", "reads", "writes"),
    [
        ("data", set(), {"train_episodes", "dev_episodes", "test_episodes", "input_record", "data_checks"}),
        ("qa_generation", {"train_episodes"}, {"train_questions", "question_report"}),
        ("train", {"train_questions", "dev_episodes"}, {"training_summary"}),
        (
            "evaluate",
            {"train_episodes", "test_episodes", "warm_start", "training_summary", "input_record"},
            {"report_path", "table_paths", "evaluation_rollouts", "evaluation_estimate"},
        ),
        (
            "matrix",
            {"train_episodes", "train_questions", "dev_episodes", "test_episodes", "input_record"},
            {"matrix_paths"},
        ),
        ("credit_bench", set(), {"credit_report_path"}),
    ],
)
def test_a_pipeline_reads_and_writes(name, reads, writes):
    found = {dataset for dataset in PIPELINES[name].inputs() if not dataset.startswith("params:")}
    assert found == reads
    assert PIPELINES[name].outputs() == writes


def test_what_one_pipeline_reads_another_writes():
    written = {dataset for pipeline in PIPELINES.values() for dataset in pipeline.all_outputs()}
    read = {dataset for pipeline in PIPELINES.values() for dataset in pipeline.all_inputs()}
    assert {dataset for dataset in read if not dataset.startswith("params:")} <= written
