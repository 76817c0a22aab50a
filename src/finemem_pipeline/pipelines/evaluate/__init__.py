"""Managers compared on held-out streams."""

from finemem_pipeline.pipelines.evaluate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
