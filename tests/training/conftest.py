"""A policy whose replies are drawn from a short list, so that siblings differ and no luck is needed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from finemem_pipeline.generation import Conversation, Sampling
from finemem_pipeline.rollouts import Completion


class Dice:
    """A Generator that picks one of its replies at random and tells the token ids of a real tokenizer.

    What it says depends on the seed and the number of the call alone.
    """

    name = "dice"

    def __init__(self, tokenizer, seed: int = 0) -> None:
        self.tokenizer = tokenizer
        self.seed = seed
        self.calls = 0
        self.prompts: list[Conversation] = []

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        rng = random.Random(f"{self.seed} {self.calls}")
        self.calls += 1
        self.prompts += conversations
        return [self._complete(conversation, rng) for conversation in conversations]

    def _complete(self, conversation: Conversation, rng: random.Random) -> Completion:
        text = conversation[1]["content"].partition("\n")[2].partition("\n\nMemory:")[0]
        lines = rng.sample(text.splitlines(), 2)
        said = rng.choice(
            [
                f'[{{"op": "INSERT", "content": "{lines[0]}"}}]',
                f'[{{"op": "INSERT", "content": "{lines[0]}"}}, {{"op": "INSERT", "content": "{lines[1]}"}}]',
                f'[{{"op": "UPDATE", "id": "m1", "content": "{lines[1]}"}}]',
                "[]",
                "no idea",
            ]
        )
        prompt = self.tokenizer.apply_chat_template(list(conversation), add_generation_prompt=True, tokenize=False)
        return Completion(
            said,
            tuple(self.tokenizer(prompt, add_special_tokens=False)["input_ids"]),
            (*self.tokenizer(said, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id),
        )


@pytest.fixture(scope="session")
def dice(tiny_model: Path) -> Callable[..., Dice]:
    from finemem_pipeline.training.policy import load_tokenizer

    tokenizer = load_tokenizer(str(tiny_model))
    return lambda seed=0: Dice(tokenizer, seed)
