"""Which memory items a question brings back."""

from finemem_pipeline.retrieval.bm25 import BM25
from finemem_pipeline.retrieval.everything import Everything
from finemem_pipeline.retrieval.retriever import Retriever

__all__ = ["BM25", "Everything", "Retriever"]
