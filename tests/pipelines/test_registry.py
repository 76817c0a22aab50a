from __future__ import annotations

import pytest
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from finemem_pipeline.config import Child
from finemem_pipeline.pipeline_registry import register_pipelines
from finemem_pipeline.pipelines import compare
from finemem_pipeline.settings import CONFIG_LOADER_ARGS

PIPELINES = register_pipelines()


def test_the_pipelines_have_these_names():
    assert set(PIPELINES) == {
        *("data", "qa_generation", "train", "evaluate", "compare", "matrix", "credit_bench", "__default__")
    }


def test_the_default_goes_from_raw_streams_to_the_table():
    parts = ("data", "qa_generation", "train", "evaluate")
    assert set(PIPELINES["__default__"].nodes) == set(sum((PIPELINES[name] for name in parts), Pipeline([])).nodes)


def test_every_node_is_named_after_its_function():
    for node in {node for pipeline in PIPELINES.values() for node in pipeline.nodes}:
        assert node.short_name == node.func.__name__


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
        (
            "compare",
            set(),
            {
                *("comparison_path", "data_checks", "question_report"),
                *("fine_mem_seed_0__evaluation_table", "outcome_only_seed_0__evaluation_table"),
            },
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


def test_every_child_of_a_comparison_is_a_group_of_its_own_that_needs_no_other_child():
    children = [Child("fine_mem", 0), Child("fine_mem", 3), Child("csr_only", 0)]
    pipeline = compare.create_pipeline(children)
    groups = {each.name: each for each in pipeline.group_nodes_by("namespace") if each.type == "namespace"}
    assert set(groups) == {"shared", "fine_mem_seed_0", "fine_mem_seed_3", "csr_only_seed_0"}
    for child in children:
        assert groups[child.name].nodes == [
            f"{child.name}.{node}" for node in ("train_policy", "play_held_out", "tell_training")
        ]
        assert set(groups[child.name].dependencies) == {"shared", "held_out_streams", "write_chunk_questions"}


def test_what_passes_between_the_groups_of_a_comparison_is_kept(project):
    loader = OmegaConfigLoader(conf_source=str(project / "conf"), env="base", **CONFIG_LOADER_ARGS)
    catalog = DataCatalog.from_config(loader["catalog"])
    pipeline = compare.create_pipeline([Child("fine_mem", 0)])
    group = {name: node.namespace or node.name for node in pipeline.nodes for name in node.outputs}
    passed = {
        name
        for node in pipeline.nodes
        for name in node.inputs
        if group.get(name, "params") not in ("params", node.namespace or node.name)
    }
    assert {"compared_warm_start", "fine_mem_seed_0__practice"} <= passed
    assert {name for name in passed if name not in catalog} == {"read_sets", "checked_sets"}  # the launcher's own
