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
    when = f" ({chunk.timestamp})" if chunk.timestamp else ""
    user = f"Text{when}:\n{chunk.text}\n\nMemory:\n{memory or '(empty)'}"
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]
