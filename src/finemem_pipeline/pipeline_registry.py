"""The pipelines by name. Listed, not discovered: a typo then meets Kedro's own "did you mean"."""

from kedro.pipeline import Pipeline

from finemem_pipeline.config import CompareConfig
from finemem_pipeline.pipelines import compare, credit_bench, data, evaluate, matrix, qa_generation, train


def register_pipelines() -> dict[str, Pipeline]:
    """`__default__` is the whole way from raw streams to the table.

    `compare` stands here with the children it has by default; the session puts those of the parameters in their place.
    """
    named = {
        "data": data.create_pipeline(),
        "qa_generation": qa_generation.create_pipeline(),
        "train": train.create_pipeline(),
        "evaluate": evaluate.create_pipeline(),
    }
    return {
        **named,
        "compare": compare.create_pipeline(CompareConfig().children),
        "matrix": matrix.create_pipeline(),
        "credit_bench": credit_bench.create_pipeline(),
        "__default__": sum(named.values(), Pipeline([])),
    }
