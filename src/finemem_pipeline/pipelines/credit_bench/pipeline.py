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
            Node(nodes.compare_schemes, ["fidelity_rows"], "credit_summary", name="compare_schemes"),
            Node(
                nodes.write_credit_page,
                ["credit_summary", "params:credit_bench", "params:data", "params:reader"],
                "credit_report_path",
                name="write_credit_page",
            ),
        ]
    )
