"""The pipelines by name. Listed, not discovered: a typo then meets Kedro's own "did you mean"."""

from kedro.pipeline import Pipeline

from finemem_pipeline.pipelines import credit_bench, data, evaluate, matrix, qa_generation, train


def register_pipelines() -> dict[str, Pipeline]:
    """`__default__` is the whole way from raw streams to the table."""
    named = {
        "data": data.create_pipeline(),
        "qa_generation": qa_generation.create_pipeline(),
        "train": train.create_pipeline(),
        "evaluate": evaluate.create_pipeline(),
    }
    return {
        **named,
        "credit_bench": credit_bench.create_pipeline(),
        "matrix": matrix.create_pipeline(),
        "__default__": sum(named.values(), Pipeline([])),
    }
