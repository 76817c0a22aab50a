from kedro.pipeline import Node, Pipeline

from finemem_pipeline.pipelines.evaluate import nodes


def create_pipeline() -> Pipeline:
    """Policies and held-out streams in; answers, a table, a report and the table of record out."""
    return Pipeline(
        [
            Node(
                nodes.held_out_streams,
                [
                    "train_episodes",
                    "test_episodes",
                    "training_summary",
                    "params:evaluation",
                    "params:benchmarks",
                    "params:data",
                    "params:training",
                    "params:recipes",
                ],
                ["held_out_episodes", "held_out_record"],
                name="held_out_streams",
            ),
            Node(
                nodes.estimate_cost,
                [
                    "held_out_episodes",
                    "training_summary",
                    "params:evaluation",
                    "params:reader",
                    "params:training",
                    "params:recipes",
                ],
                "evaluation_estimate",
                name="estimate_cost",
            ),
            Node(
                nodes.play_held_out,
                [
                    "held_out_episodes",
                    "warm_start",
                    "training_summary",
                    "params:evaluation",
                    "params:reader",
                    "params:training",
                    "params:recipes",
                ],
                ["evaluation_results", "evaluation_rollouts", "evaluation_notes"],
                name="play_held_out",
            ),
            Node(
                nodes.compare_managers,
                ["evaluation_results", "evaluation_notes", "train_episodes", "training_summary", "params:evaluation"],
                "evaluation_table",
                name="compare_managers",
            ),
            Node(
                nodes.write_report_page,
                ["evaluation_table", "evaluation_notes", "held_out_record", "training_summary", "input_record"],
                "report_path",
                name="write_report_page",
            ),
            Node(
                nodes.write_table_of_record,
                [
                    "evaluation_table",
                    "held_out_record",
                    "training_summary",
                    "input_record",
                    "params:evaluation",
                    "params:benchmarks",
                ],
                "table_paths",
                name="write_table_of_record",
            ),
        ]
    )
