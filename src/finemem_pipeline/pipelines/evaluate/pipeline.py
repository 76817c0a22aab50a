from kedro.pipeline import Node, Pipeline

from finemem_pipeline.pipelines.evaluate import nodes


def create_pipeline() -> Pipeline:
    """Policies and held-out streams in; answers, a table and a report out."""
    return Pipeline(
        [
            Node(
                nodes.held_out_streams,
                ["train_episodes", "test_episodes", "training_summary", "params:evaluation", "params:data"],
                ["held_out_episodes", "held_out_record"],
                name="held_out_streams",
            ),
            Node(
                nodes.play_held_out,
                [
                    "held_out_episodes",
                    "warm_start",
                    "training_summary",
                    "params:evaluation",
                    "params:reader",
                ],
                ["evaluation_results", "evaluation_rollouts"],
                name="play_held_out",
            ),
            Node(
                nodes.compare_managers,
                ["evaluation_results", "params:evaluation"],
                "evaluation_table",
                name="compare_managers",
            ),
            Node(
                nodes.write_report_page,
                [
                    "evaluation_table",
                    "evaluation_rollouts",
                    "held_out_episodes",
                    "held_out_record",
                    "training_summary",
                    "input_record",
                ],
                "report_path",
                name="write_report_page",
            ),
        ]
    )
