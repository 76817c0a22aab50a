"""Looking at the domain or at the pipelines costs no second: what is heavy is imported by the node that needs it."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from finemem_pipeline import benchmarks, credit, memory, retrieval, rewards

HEAVY = {
    "torch", "transformers", "trl", "peft", "datasets", "accelerate", "mlflow", "great_expectations", "pandas",
    "matplotlib", "openai", "sklearn", "pyarrow", "huggingface_hub", "s3fs", "botocore",
}  # fmt: skip
ROOMS = (
    "episodes",
    "memory",
    "rollouts",
    "records",
    "credit",
    "metrics",
    "rewards",
    "retrieval",
    "reasoning",
    "manager",
)

LOADED = "import sys; {code}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_the_domain_needs_numpy_alone():
    found = loaded_after("; ".join(f"import finemem_pipeline.{room}" for room in ROOMS))
    assert "numpy" in found
    assert found & (HEAVY | {"kedro", "pydantic", "yaml"}) == set()


def test_the_loaders_read_no_parquet_before_they_are_asked_to():
    assert loaded_after("import finemem_pipeline.benchmarks") & HEAVY == set()


def test_the_pipelines_and_their_settings_load_nothing_heavy():
    code = (
        "import finemem_pipeline.pipelines, finemem_pipeline.settings, finemem_pipeline.config; "
        "from finemem_pipeline.pipeline_registry import register_pipelines; register_pipelines()"
    )
    found = loaded_after(code)
    assert "kedro" in found
    assert found & HEAVY == set()


def test_the_schedule_and_the_folder_of_a_run_need_no_torch():
    found = loaded_after("import finemem_pipeline.training.schedule, finemem_pipeline.training.runs")
    assert found & HEAVY == set()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (memory.parse_operations, ["text"]),
        (memory.MemoryBank.apply, ["self", "operation", "step"]),
        (credit.spread_evenly, ["value", "steps"]),
        (credit.spread_by_evidence, ["scores", "evidence", "steps"]),
        (credit.group_advantages, ["rewards", "eps"]),
        (rewards.score_rollout, ["rollout", "variant"]),
        *((loader, ["path", "split"]) for loader in benchmarks.BENCHMARKS.values()),
        (retrieval.BM25.search, ["self", "queries", "items", "k"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_names_that_other_tools_rely_on_have_these_arguments(function, arguments):
    assert list(inspect.signature(function).parameters) == arguments


def test_they_do_what_other_tools_rely_on():
    assert memory.parse_operations("[]") == memory.Parsed((memory.Skip(),), ())
    assert len(memory.MemoryBank()) == 0
    assert credit.spread_evenly(1.0, 4).tolist() == [0.25] * 4
    assert credit.spread_by_evidence([1.0, None, 0.0], [[0, 2], [1], []], 3).tolist() == [0.25, 0.0, 0.25]
    with pytest.raises(ValueError, match="none of 1 answers is scored"):
        credit.spread_by_evidence([None], [[0]], 2)
    assert credit.group_advantages([[1.0, float("nan")], [1.0, 2.0]]).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert inspect.signature(credit.group_advantages).parameters["eps"].default == 1e-4
    assert set(rewards.REWARDS) >= {"outcome", "chunk", "format", "compression"}
    assert set(benchmarks.BENCHMARKS) >= {"planted", "realbench"}
    assert set(benchmarks.FINDERS) == set(benchmarks.BENCHMARKS)
    assert (retrieval.BM25().k1, retrieval.BM25().b) == (1.5, 0.75)
