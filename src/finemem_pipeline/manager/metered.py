"""The language model of a manager, on the meter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from finemem_pipeline.generation import Conversation, Generator, Sampling
from finemem_pipeline.manager import Observation, Usage
from finemem_pipeline.manager.replies import clean
from finemem_pipeline.memory import CountTokens, MemoryItem
from finemem_pipeline.retrieval import Retriever
from finemem_pipeline.rollouts import Completion


class Metered:
    """Base of the managers that ask a Generator.

    Tokens are those the generator tells; where it tells none (a server), the messages and the reply are counted with
    `count_tokens`, without what a chat template adds. Siblings of a stream are counted together.
    """

    def __init__(self, generator: Generator, sampling: Sampling, count_tokens: CountTokens) -> None:
        self.generator = generator
        self.sampling = sampling
        self.count_tokens = count_tokens
        self._spent: dict[str, Usage] = {}

    @property
    def usage(self) -> Usage:
        """What all streams together have cost so far."""
        return sum(self._spent.values(), Usage())

    @property
    def usage_by_stream(self) -> Mapping[str, Usage]:
        """What each stream has cost so far, by its id."""
        return MappingProxyType(self._spent)

    def ask(self, asked: Sequence[tuple[Observation, Conversation]]) -> list[Completion]:
        """One completion per conversation, in order, from one call of the generator; no call for none.

        Raises GeneratorError if the generator fails.
        """
        if not asked:
            return []
        seeds = tuple(observation.seed for observation, _ in asked if observation.seed is not None)
        sampling = replace(self.sampling, seeds=seeds) if len(seeds) == len(asked) else self.sampling
        replies = self.generator.generate([conversation for _, conversation in asked], sampling)
        for (observation, conversation), reply in zip(asked, replies, strict=True):
            stream = observation.episode.id
            self._spent[stream] = self._spent.get(stream, Usage()) + self._cost(conversation, reply)
        return replies

    def _cost(self, conversation: Conversation, reply: Completion) -> Usage:
        shown = len(reply.prompt_ids) or sum(self.count_tokens(message["content"]) for message in conversation)
        said = len(reply.completion_ids) or self.count_tokens(clean(reply.text))
        return Usage(1, shown, said)


class ByNearest(Metered):
    """Base of the managers that hold each new text, at most `most` of a chunk, against its `nearest` items."""

    def __init__(
        self,
        generator: Generator,
        sampling: Sampling,
        count_tokens: CountTokens,
        retriever: Retriever,
        nearest: int = 5,
        most: int = 8,
    ) -> None:
        super().__init__(generator, sampling, count_tokens)
        self.retriever = retriever
        self.nearest = nearest
        self.most = most

    def near(self, observation: Observation, texts: Sequence[str]) -> list[list[MemoryItem]]:
        """The items nearest to each text, best first; none from an empty memory."""
        items = observation.bank.items
        found = self.retriever.search(texts, items, self.nearest) if items and texts else [[] for _ in texts]
        return [[item for item, _ in best] for best in found]
