from kedro.pipeline import Node, Pipeline

from finemem_pipeline.pipelines.qa_generation import nodes


def create_pipeline() -> Pipeline:
    """Training streams in; the same with up to K verified questions per chunk out."""
    return Pipeline(
        [
            Node(
                nodes.write_chunk_questions,
                ["train_episodes", "params:questions"],
                ["train_questions", "question_report"],
                name="write_chunk_questions",
            )
        ]
    )
