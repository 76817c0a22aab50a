"""Backbones by readers: whether what training gains does not hang on one model or one reader."""

from finemem_pipeline.pipelines.matrix.pipeline import create_pipeline

__all__ = ["create_pipeline"]
