from kedro.pipeline import Node, Pipeline

from finemem_pipeline.pipelines.train import nodes


def create_pipeline() -> Pipeline:
    """Training streams in; a warm-started, an imitating and a trained policy out."""
    return Pipeline(
        [
            Node(
                nodes.warm_start_policy,
                ["train_questions", "dev_episodes", "params:training", "params:recipes", "params:reader"],
                "warm_start",
                name="warm_start_policy",
            ),
            Node(
                nodes.train_policy,
                [
                    "train_questions",
                    "warm_start",
                    "params:training",
                    "params:recipes",
                    "params:rewards",
                    "params:reader",
                ],
                "training_summary",
                name="train_policy",
            ),
        ],
        namespace="train",  # what needs a GPU: on a cluster its nodes run in one job
        prefix_datasets_with_namespace=False,
    )
