"""Reward variants trained and evaluated side by side."""

from finemem_pipeline.pipelines.compare.pipeline import create_pipeline

__all__ = ["create_pipeline"]
