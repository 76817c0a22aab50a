"""One text that is written anew at every chunk: MemAgent's overwrite memory, and MEM1's internal state."""

from __future__ import annotations

import re
from collections.abc import Sequence

from finemem_pipeline.generation import Generator, Sampling
from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.metered import Metered
from finemem_pipeline.manager.prompts import told, two_turns
from finemem_pipeline.manager.replies import first_tokens, spoken, written
from finemem_pipeline.memory import CountTokens, Insert, Operation, Update

_STATE = re.compile(r"(?is)<state>(.*?)(?:</state>|\Z)")


class OverwriteStyle(Metered):
    """A memory in the manner of MemAgent (arXiv:2507.02259): a paragraph that the model writes anew at every chunk.

    The bank has one item at most, inserted once and then updated; what the new text leaves out is gone. It is cut to
    `limit` tokens. What differs from the original: no model is trained for it; the question is not known while
    reading (MemAgent shows it beside every chunk); chunks are those of the stream, not 5,000 tokens each; the answer
    comes from the reader that all managers share. An empty reply leaves the memory as it was.
    """

    instructions = (
        "You keep one short memory of a long text that comes in parts. Read the part and the memory, and write the "
        "memory anew: keep every name, number, date and fact that may be asked later, old ones too, and correct what "
        "has changed. What you leave out is forgotten. Reply with the new memory alone."
    )

    def __init__(self, generator: Generator, sampling: Sampling, count_tokens: CountTokens, limit: int = 512) -> None:
        super().__init__(generator, sampling, count_tokens)
        self.limit = limit

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        prompts = [
            two_turns(self.instructions, f"{told(each.chunk)}\n\nMemory:\n{_text(each) or '(empty)'}")
            for each in observations
        ]
        replies = self.ask(list(zip(observations, prompts, strict=True)))
        return [self._turn(each, reply.text) for each, reply in zip(observations, replies, strict=True)]

    def memory(self, said: str) -> str:
        """The new memory in a reply; empty if there is none."""
        return said

    def _turn(self, observation: Observation, reply: str) -> Turn:
        text = first_tokens(self.memory(spoken(reply)), self.limit, self.count_tokens)
        if not text.strip():
            return Turn(written([], [reply]))
        items = observation.bank.items
        change: Operation = Update(items[0].id, text) if items else Insert(text)
        return Turn(written([change]))


class CompactStyle(OverwriteStyle):
    """A memory in the manner of MEM1 (arXiv:2506.15841): one internal state between tags, which replaces the old one.

    Like `OverwriteStyle`, but for what the model is told to write: what is known and what is still open, reasoned
    about in few words, between <state> and </state>; the last such state of a reply counts, also if it was cut off,
    and a reply without one leaves the memory as it was. What differs from the original: no model is trained for it;
    chunks of a stream take the place of its own search actions, and there is no question to work towards.
    """

    instructions = (
        "You read a long text in parts and remember nothing but your own state. Read the part and the old state, and "
        "write the new one between <state> and </state>: in few words all facts known so far, with names, numbers and "
        "dates, what has changed, and what is still open. Reply with <state>...</state> alone."
    )

    def memory(self, said: str) -> str:
        found = _STATE.findall(said)
        return found[-1].strip() if found else ""


def _text(observation: Observation) -> str:
    return "\n".join(item.text for item in observation.bank.items)
