"""How a memory changes: operations, the bank they act on, what a model's reply says, what a model is shown."""

from finemem_pipeline.memory.bank import CountTokens, MemoryBank, MemoryItem
from finemem_pipeline.memory.operations import Applied, Delete, Insert, Operation, Parsed, Skip, Update

__all__ = [
    "Applied",
    "CountTokens",
    "Delete",
    "Insert",
    "MemoryBank",
    "MemoryItem",
    "Operation",
    "Parsed",
    "Skip",
    "Update",
]
