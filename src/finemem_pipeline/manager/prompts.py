"""What a language model is told. Changing a word here changes every policy.

The layout puts what siblings share first (instructions, then the chunk) and the memory, which differs, last.
"""

from __future__ import annotations

from finemem_pipeline.episodes import Chunk
from finemem_pipeline.generation import Conversation

SYSTEM = (
    "You keep a memory. Read the text and reply with a JSON list of operations that store, one fact per item, "
    "what may be asked later, and leave out small talk:\n"
    '[{"op": "INSERT", "content": "fact"}, {"op": "UPDATE", "id": "m1", "content": "new fact"}, '
    '{"op": "DELETE", "id": "m1"}, {"op": "SKIP"}]'
)


def conversation(chunk: Chunk, memory: str) -> Conversation:
    """The prompt for one step; `memory` is the rendered bank, one item per line, or empty."""
    return two_turns(SYSTEM, f"{told(chunk)}\n\nMemory:\n{memory or '(empty)'}")


def told(chunk: Chunk) -> str:
    """The chunk as it stands in every prompt."""
    when = f" ({chunk.timestamp})" if chunk.timestamp else ""
    return f"Text{when}:\n{chunk.text}"


def two_turns(system: str, user: str) -> Conversation:
    """Instructions, and what they are to be followed on."""
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]
