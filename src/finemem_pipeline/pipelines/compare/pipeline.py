from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from finemem_pipeline.config import Child
from finemem_pipeline.pipelines import data, qa_generation
from finemem_pipeline.pipelines.compare import nodes

SHARED = "shared"
"""The namespace of what all children begin from and are compared with."""


def create_pipeline(children: Sequence[Child]) -> Pipeline:
    """Raw streams in; every child trained and evaluated in a namespace of its own, and one page about all out."""
    return (
        data.create_pipeline()
        + qa_generation.create_pipeline()
        + Pipeline([*_before(), *(node for child in children for node in _of(child)), *_after(children)])
    )


def _before() -> list[Node]:
    return [
        Node(
            nodes.held_out_streams,
            [
                *("train_episodes", "test_episodes", "params:evaluation", "params:benchmarks", "params:data"),
                *("params:training", "params:recipes"),
            ],
            ["compared_streams", "compared_record"],
            name="held_out_streams",
        ),
        Node(
            nodes.warm_start_policy,
            ["train_questions", "dev_episodes", "params:training", "params:recipes", "params:reader"],
            "compared_warm_start",
            name="warm_start_policy",
            namespace=SHARED,
        ),
        Node(
            nodes.play_references,
            [
                *("compared_streams", "compared_warm_start", "params:compare", "params:evaluation", "params:reader"),
                *("params:training", "params:recipes"),
            ],
            "compared_references",
            name="play_references",
            namespace=SHARED,
        ),
    ]


def _of(child: Child) -> list[Node]:
    return [
        Node(
            nodes.training_of(child),
            [
                *("train_questions", "compared_warm_start", "params:compare", "params:training", "params:recipes"),
                *("params:rewards", "params:reader"),
            ],
            child.dataset("training_summary"),
            name="train_policy",
            namespace=child.name,
        ),
        Node(
            nodes.account_of(child),
            [child.dataset("training_summary"), "train_questions", "params:rewards"],
            [child.dataset("practice"), child.dataset("practice_maps")],
            name="tell_training",
            namespace=child.name,
        ),
        Node(
            nodes.playing_of(child),
            [
                *("compared_streams", "compared_warm_start", child.dataset("training_summary"), "params:compare"),
                *("params:evaluation", "params:reader", "params:rewards", "params:training"),
            ],
            [child.dataset("evaluation_results"), child.dataset("evaluation_table"), child.dataset("evaluation_maps")],
            name="play_held_out",
            namespace=child.name,
        ),
    ]


def _after(children: Sequence[Child]) -> list[Node]:
    def each(name: str) -> list[str]:
        return [child.dataset(name) for child in children]

    return [
        Node(
            nodes.comparing(children),
            [
                *("params:compare", "params:evaluation", "compared_references"),
                *each("practice"),
                *each("evaluation_results"),
            ],
            "comparison",
            name="compare_variants",
        ),
        Node(
            nodes.write_comparison_page,
            [
                *("comparison", "compared_record", "input_record", "params:training", "params:recipes"),
                *each("evaluation_maps"),
                *each("practice_maps"),
            ],
            "comparison_path",
            name="write_comparison_page",
        ),
    ]
