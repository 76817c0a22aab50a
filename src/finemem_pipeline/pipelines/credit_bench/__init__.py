"""How right credit is, and what a policy learns from it."""

from finemem_pipeline.pipelines.credit_bench.pipeline import create_pipeline

__all__ = ["create_pipeline"]
