"""Streams: read, cut, recorded and checked."""

from finemem_pipeline.pipelines.data.pipeline import create_pipeline

__all__ = ["create_pipeline"]
