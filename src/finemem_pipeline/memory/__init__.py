"""How a memory changes: operations, the bank they act on, what a model's reply says, what a model is shown."""

from finemem_pipeline.memory.bank import NO_ITEM, CountTokens, MemoryBank, MemoryItem
from finemem_pipeline.memory.operations import Applied, Delete, Insert, Operation, Parsed, Skip, Update
from finemem_pipeline.memory.parsing import format_operations, parse_operations
from finemem_pipeline.memory.rendering import Rendered, render

__all__ = [
    "NO_ITEM",
    "Applied",
    "CountTokens",
    "Delete",
    "Insert",
    "MemoryBank",
    "MemoryItem",
    "Operation",
    "Parsed",
    "Rendered",
    "Skip",
    "Update",
    "format_operations",
    "parse_operations",
    "render",
]
