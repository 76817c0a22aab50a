"""A reasoner that says what it was told to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from finemem_pipeline.reasoning import Asked, ReasonerError, Reply


class ScriptedReasoner:
    """Replies from a table of questions or from a function; `asked` keeps every question that came in, in order.

    Raises ReasonerError for a question that the table does not hold.
    """

    def __init__(self, replies: Mapping[str, Reply] | Callable[[Asked], Reply], identity: str = "scripted") -> None:
        self.identity = identity
        self.asked: list[Asked] = []
        self._replies = replies

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        self.asked += asked
        return [self._reply(one) for one in asked]

    def _reply(self, asked: Asked) -> Reply:
        if not isinstance(self._replies, Mapping):
            return self._replies(asked)
        if asked.question not in self._replies:
            raise ReasonerError(f"the script has no reply to the question '{asked.question}'")
        return self._replies[asked.question]
