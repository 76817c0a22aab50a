from kedro.pipeline import Node, Pipeline

from finemem_pipeline.pipelines.matrix import nodes


def create_pipeline() -> Pipeline:
    """Streams in; every backbone trained, played and read by every reader, and one table out."""
    return Pipeline(
        [
            Node(
                nodes.matrix_streams,
                [
                    "train_episodes",
                    "test_episodes",
                    "params:evaluation",
                    "params:benchmarks",
                    "params:data",
                    "params:training",
                    "params:recipes",
                ],
                ["matrix_episodes", "matrix_record"],
                name="matrix_streams",
            ),
            Node(
                nodes.train_backbones,
                [
                    "train_questions",
                    "dev_episodes",
                    "params:matrix",
                    "params:training",
                    "params:evaluation",
                    "params:recipes",
                    "params:rewards",
                    "params:reader",
                ],
                "matrix_policies",
                name="train_backbones",
            ),
            Node(
                nodes.play_cells,
                [
                    "matrix_episodes",
                    "matrix_policies",
                    "params:matrix",
                    "params:evaluation",
                    "params:recipes",
                    "params:reader",
                ],
                "matrix_results",
                name="play_cells",
            ),
            Node(nodes.join_cells, ["matrix_results", "params:evaluation"], "matrix_table", name="join_cells"),
            Node(
                nodes.write_matrix_page,
                [
                    "matrix_table",
                    "matrix_policies",
                    "matrix_record",
                    "input_record",
                    "params:matrix",
                    "params:reader",
                ],
                "matrix_paths",
                name="write_matrix_page",
            ),
        ]
    )
