"""Chunk questions for the Chunk-level Step Reward."""

from finemem_pipeline.pipelines.qa_generation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
