"""Warm start, then step-level GRPO."""

from finemem_pipeline.pipelines.train.pipeline import create_pipeline

__all__ = ["create_pipeline"]
