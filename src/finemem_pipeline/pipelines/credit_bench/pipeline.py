from kedro.pipeline import Node, Pipeline

from finemem_pipeline.pipelines.credit_bench import nodes


def create_pipeline() -> Pipeline:
    """Streams and scripted managers in; tables and a page out."""
    return Pipeline(
        [
            Node(
                nodes.measure_fidelity,
                ["params:credit_bench", "params:data", "params:reader"],
                "fidelity_rows",
                name="measure_fidelity",
            ),
            Node(
                nodes.study_learning,
                ["params:credit_bench", "params:data", "params:rewards"],
                "learning_rows",
                name="study_learning",
            ),
            Node(
                nodes.measure_gradients,
                ["params:credit_bench", "params:data", "params:rewards"],
                "gradient_rows",
                name="measure_gradients",
            ),
            Node(
                nodes.compare_schemes,
                ["fidelity_rows", "learning_rows", "gradient_rows", "params:credit_bench"],
                "credit_summary",
                name="compare_schemes",
            ),
            Node(
                nodes.write_credit_page,
                ["credit_summary", "params:credit_bench", "params:data", "params:reader"],
                "credit_report_path",
                name="write_credit_page",
            ),
        ]
    )
