from kedro.pipeline import Node, Pipeline

from finemem_pipeline.pipelines.data import nodes


def create_pipeline() -> Pipeline:
    """Raw streams in; checked train, dev and test sets out. Nothing is written unless every row is good."""
    return Pipeline(
        [
            Node(
                nodes.read_streams,
                ["params:data", "params:training", "params:recipes"],
                "read_sets",
                name="read_streams",
            ),
            Node(nodes.check_sets, "read_sets", ["checked_sets", "data_checks"], name="check_sets"),
            Node(nodes.record_inputs, ["checked_sets", "params:data"], "input_record", name="record_inputs"),
            Node(
                nodes.split_sets,
                "checked_sets",
                ["train_episodes", "dev_episodes", "test_episodes"],
                name="split_sets",
            ),
        ]
    )
