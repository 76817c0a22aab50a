"""A generator that replays what was written down for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from finemem_pipeline.generation import Conversation, GeneratorError, Sampling
from finemem_pipeline.rollouts import Completion

Script = Iterable[str | Completion] | Callable[[Conversation], str | Completion]


class ScriptedGenerator:
    """Replies one after the other from a list, or each from a function of its conversation.

    `conversations` keeps every conversation that came in, in order. Raises GeneratorError when the list has run out.
    """

    def __init__(self, replies: Script, name: str = "scripted") -> None:
        self.name = name
        self.conversations: list[Conversation] = []
        self._function = replies if callable(replies) else None
        self._left: Iterator[str | Completion] = iter(()) if callable(replies) else iter(replies)

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        return [self._complete(conversation) for conversation in conversations]

    def _complete(self, conversation: Conversation) -> Completion:
        self.conversations.append(conversation)
        if self._function is not None:
            reply = self._function(conversation)
        else:
            try:
                reply = next(self._left)
            except StopIteration:
                raise GeneratorError(f"the script ended before request {len(self.conversations)}") from None
        return reply if isinstance(reply, Completion) else Completion(reply)
