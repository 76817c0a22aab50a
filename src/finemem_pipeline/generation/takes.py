"""Several takes of the same play: each with a seed of its own, each on the clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from finemem_pipeline.generation import Conversation, Generator, Sampling
from finemem_pipeline.rollouts import Completion


class Takes:
    """Gives the sampled calls of its generators the seed of the take, and counts the seconds of all their calls."""

    def __init__(self) -> None:
        self.seed: int | None = None
        self.seconds = 0.0

    def on(self, generator: Generator) -> Generator:
        """The same generator, for takes."""
        return _Taken(generator, self)


class _Taken:
    def __init__(self, generator: Generator, takes: Takes) -> None:
        self.generator = generator
        self.takes = takes

    @property
    def name(self) -> str:
        return self.generator.name

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        if sampling.temperature > 0 and self.takes.seed is not None:
            sampling = replace(sampling, seed=self.takes.seed)
        begin = time.perf_counter()
        completions = self.generator.generate(conversations, sampling)
        self.takes.seconds += time.perf_counter() - begin
        return completions
