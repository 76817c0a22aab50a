"""What a manager is worth: results per question, means with what they rest on, differences with their intervals."""

from finemem_pipeline.evaluation.aggregate import (
    Cell,
    by_benchmark,
    by_source,
    by_task,
    mean_over_sources,
    question_mean,
)
from finemem_pipeline.evaluation.bootstrap import Difference, paired_difference
from finemem_pipeline.evaluation.results import (
    QuestionResult,
    Spent,
    StreamResult,
    decode,
    encode,
    rebuilds_merged,
    results_from_rollouts,
)
from finemem_pipeline.evaluation.table import evaluate_table

__all__ = [
    "Cell",
    "Difference",
    "QuestionResult",
    "Spent",
    "StreamResult",
    "by_benchmark",
    "by_source",
    "by_task",
    "decode",
    "encode",
    "evaluate_table",
    "mean_over_sources",
    "paired_difference",
    "question_mean",
    "rebuilds_merged",
    "results_from_rollouts",
]
