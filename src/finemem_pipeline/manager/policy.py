"""A language model as memory manager."""

from __future__ import annotations

from collections.abc import Sequence

from finemem_pipeline.generation import Conversation, Generator, Sampling
from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.metered import Metered
from finemem_pipeline.manager.prompts import conversation
from finemem_pipeline.memory import CountTokens, render
from finemem_pipeline.retrieval import Retriever


class Prompter:
    """Turns an observation into the prompt that every language-model manager sees.

    A memory longer than `memory_budget` tokens is shown in part: half the budget for the items most relevant to
    the chunk by `retriever`, half for the newest ones.
    """

    def __init__(self, retriever: Retriever, count_tokens: CountTokens, memory_budget: int) -> None:
        self.retriever = retriever
        self.count_tokens = count_tokens
        self.memory_budget = memory_budget

    def __call__(self, observation: Observation) -> tuple[Conversation, frozenset[str]]:
        """The prompt, and the ids of the items it shows."""
        items = observation.bank.items
        relevant: list[str] = []
        if items:
            [found] = self.retriever.search([observation.chunk.text], items, len(items))
            relevant = [item.id for item, _ in found]
        rendered = render(observation.bank, relevant, self.count_tokens, self.memory_budget)
        return conversation(observation.chunk, rendered.text), frozenset(rendered.shown)


class PolicyManager(Metered):
    """Prompts a Generator, all observations of a wave in one batch."""

    def __init__(self, generator: Generator, prompter: Prompter, sampling: Sampling) -> None:
        super().__init__(generator, sampling, prompter.count_tokens)
        self.prompter = prompter

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        prompts = [self.prompter(each) for each in observations]
        replies = self.ask([(each, prompt) for each, (prompt, _) in zip(observations, prompts, strict=True)])
        return [Turn(reply, shown) for reply, (_, shown) in zip(replies, prompts, strict=True)]
