"""No memory but the window of a long context."""

from __future__ import annotations

from collections.abc import Sequence

from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.replies import last_tokens, written
from finemem_pipeline.memory import CountTokens, Delete, Insert, Operation, Update


class LongContext:
    """Keeps the last `window` tokens of the stream, one item per chunk: the newest end of what was read.

    When the window is passed, whole chunks are deleted from its old end, and of the one that then stands there the
    beginning is cut off (an update, so that it counts as written at that step). Tokens are counted per item.

    A long-context reader is shown everything, in the order of the stream, not the k items that fit the question:
    read this memory with `retrieval.Everything` and `reasoning.whole.WholeText`. With the retriever of the other
    managers it is `RawChunks` with a window.
    """

    def __init__(self, count_tokens: CountTokens, window: int = 32768) -> None:
        if window < 1:
            raise ValueError(f"LongContext needs a window of at least 1 token, found {window}")
        self.count_tokens = count_tokens
        self.window = window

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        return [Turn(written(self._operations(each))) for each in observations]

    def _operations(self, observation: Observation) -> list[Operation]:
        if not observation.chunk.text.strip():
            return []
        text = last_tokens(observation.chunk.text, self.window, self.count_tokens)
        sizes = [self.count_tokens(item.text) for item in observation.bank.items]
        excess = sum(sizes) + self.count_tokens(text) - self.window
        operations: list[Operation] = []
        for item, size in zip(observation.bank.items, sizes, strict=True):
            if excess <= 0:
                break
            kept = last_tokens(item.text, size - excess, self.count_tokens) if size > excess else ""
            operations.append(Update(item.id, kept) if kept.strip() else Delete(item.id))
            excess -= size
        return [*operations, Insert(text)] if text.strip() else operations
