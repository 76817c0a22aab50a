"""Generators whose work is counted: what a memory costs to write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from finemem_pipeline.generation import Conversation, Generator, Sampling
from finemem_pipeline.memory import CountTokens
from finemem_pipeline.rollouts import Completion


@dataclass(frozen=True, slots=True)
class Spent:
    """What a language model was asked for."""

    calls: float = 0.0  # completions
    tokens_in: float = 0.0  # of the prompts
    tokens_out: float = 0.0  # of the replies
    seconds: float = 0.0  # spent waiting for them

    def since(self, earlier: Spent) -> Spent:
        """What was spent after `earlier`."""
        return Spent(**{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)})


class Meter:
    """Counts what its generators do, and gives each sampled call the seed of the moment.

    Tokens are those that a backend tells. For one that tells none they are counted in the texts, without the marks
    that its chat template puts between the turns.
    """

    def __init__(self, count_tokens: CountTokens) -> None:
        self.count_tokens = count_tokens
        self.spent = Spent()
        self.seed: int | None = None

    def on(self, generator: Generator) -> Generator:
        """The generator, counted."""
        return _Metered(generator, self)

    def add(self, conversations: Sequence[Conversation], completions: Sequence[Completion], seconds: float) -> None:
        """One batch was answered."""
        before = self.spent
        self.spent = Spent(
            calls=before.calls + len(completions),
            tokens_in=before.tokens_in + sum(map(self._read, conversations, completions)),
            tokens_out=before.tokens_out + sum(map(self._written, completions)),
            seconds=before.seconds + seconds,
        )

    def _read(self, conversation: Conversation, completion: Completion) -> int:
        return len(completion.prompt_ids) or sum(self.count_tokens(message["content"]) for message in conversation)

    def _written(self, completion: Completion) -> int:
        return len(completion.completion_ids) or self.count_tokens(completion.text)


class _Metered:
    def __init__(self, generator: Generator, meter: Meter) -> None:
        self.generator = generator
        self.meter = meter

    @property
    def name(self) -> str:
        return self.generator.name

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        if sampling.temperature > 0 and self.meter.seed is not None:
            sampling = replace(sampling, seed=self.meter.seed)
        begin = time.perf_counter()
        completions = self.generator.generate(conversations, sampling)
        self.meter.add(conversations, completions, time.perf_counter() - begin)
        return completions
