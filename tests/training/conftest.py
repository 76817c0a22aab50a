"""A policy whose replies are drawn from a short list, so that siblings differ and no luck is needed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
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


class Mumbling:
    """A Generator that lets a policy of random weights draw its tokens, and has them mean one of a few replies.

    So what is played hangs on the weights and on the generators of random numbers, bit by bit, and siblings differ.
    """

    name = "mumbling"

    def __init__(self, policy) -> None:
        self.policy = policy

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        drawn = self.policy.generate(conversations, sampling)
        return [self._mean(conversation, said) for conversation, said in zip(conversations, drawn, strict=True)]

    def _mean(self, conversation: Conversation, said: Completion) -> Completion:
        lines = conversation[1]["content"].partition("\n")[2].partition("\n\nMemory:")[0].splitlines()
        meant = sum(said.completion_ids)
        line, other = lines[meant % len(lines)], lines[meant // 7 % len(lines)]
        replies = [
            f'[{{"op": "INSERT", "content": "{line}"}}]',
            f'[{{"op": "INSERT", "content": "{line}"}}, {{"op": "INSERT", "content": "{other}"}}]',
            f'[{{"op": "UPDATE", "id": "m1", "content": "{other}"}}]',
            "[]",
            "no idea",
        ]
        return replace(said, text=replies[meant % len(replies)])


ADAPTER = {"r": 4, "alpha": 8, "dropout": 0.1, "layers": None}


class Pupil:
    """A tiny policy that plays itself, its run, and everything that training needs around it. One per process."""

    def __init__(
        self, model: Path, folder: Path, reasoner=None, lora=ADAPTER, reward=None, team=None, **changes
    ) -> None:
        import torch

        from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
        from finemem_pipeline.clock import Clock
        from finemem_pipeline.manager.policy import PolicyManager, Prompter
        from finemem_pipeline.reasoning.cache import AnswerCache
        from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
        from finemem_pipeline.reasoning.probes import Sample
        from finemem_pipeline.reasoning.reader import Reader
        from finemem_pipeline.retrieval import BM25
        from finemem_pipeline.rewards import variant
        from finemem_pipeline.training.policy import PlayingCopy, load_tokenizer, load_trainable
        from finemem_pipeline.training.runs import Run
        from finemem_pipeline.training.together import ALONE
        from finemem_pipeline.training.train import Practice, Settings

        self.team = team or ALONE
        settings = {
            **{"steps": 5, "group_size": 3, "episodes_per_step": 2, "seed": 0, "question_share": 0.2},
            **{"question_floor": 2, "retention": Sample(2), "epsilon": 0.2, "kl": 0.0, "learning_rate": 1e-3},
            **{"warmup_steps": 2, "max_grad_norm": 1.0, "micro_batch": 6, "max_completion_tokens": 6},
            **{"temperature": 1.0, "gradient_checkpointing": False, "bf16": False},
            **{"checkpoint_every": 5, "keep_checkpoints": 2},
        }
        self.settings = Settings(**{**settings, **changes})
        self.tokenizer = load_tokenizer(str(model))
        torch.manual_seed(0)
        self.model = load_trainable(str(model), None, lora)
        self.twin = PlayingCopy(str(model), "fp32")
        self.run = self.team.from_first(lambda: Run.open(folder, "pupil", {}))
        count = lambda text: len(self.tokenizer.encode(text, add_special_tokens=False))  # noqa: E731
        sampling = Sampling(self.settings.max_completion_tokens, self.settings.temperature)
        self.practice = Practice(
            list(generate(PlantedSpec(train=5, chunks=(1, 3), facts_per_chunk=2), "train")),
            PolicyManager(Mumbling(self.twin), Prompter(BM25(), count, 200), sampling),
            Reader(BM25(), reasoner or ExtractiveReasoner(), cache=AnswerCache(folder / "answers.sqlite")),
            count,
            variant("pupil", reward or LESSON),
            self.settings,
            Clock(),
            filler_id=self.tokenizer.eos_token_id,
            rollouts_folder=self.run.rollouts_folder,
            on_phase=lambda update, now: None,
            team=self.team,
        )

    def train(self) -> Path:
        from finemem_pipeline.training.train import train

        return train(self.model, self.tokenizer, self.practice, self.settings, self.run, self.twin.sync, self.team)

    def before_learning(self, update: int, act: Callable[[list], list]) -> None:
        """Lets `act` look at the rows of that update, or change them, or stop everything, before they are learned."""
        play_step = self.practice.play_step

        def played(now, indices):
            rows = play_step(now, indices)
            return act(rows) if now == update else rows

        self.practice.play_step = played

    def left_behind(self) -> dict[str, object]:
        """Everything that a run which goes on must have in common with one that was never stopped."""
        import torch

        timings = ("seconds/", "tokens_per_second")
        return {
            "weights": [weight.detach().numpy().tobytes() for weight in self.model.parameters()],
            "metrics": [
                {name: value for name, value in row.items() if not name.startswith(timings)}
                for row in self.run.metrics()
            ],
            "rollouts": {path.name: path.read_text() for path in sorted(self.run.rollouts_folder.iterdir())},
            "next number": torch.rand(1).item(),
            "baseline": self.practice.baseline,
        }


LESSON = {
    "outcome": {"weight": 1.0, "spread": {"scheme": "retrieved", "beta": 0.5}},
    "chunk": {"weight": 0.5},
    "format": {"weight": 1.0},
    "compression": {"weight": 0.05},
}


@pytest.fixture
def pupil(tiny_model: Path, tmp_path: Path) -> Callable[..., Pupil]:
    """Makes pupils; those with the same `folder` continue each other's run."""
    return lambda folder="run", **changes: Pupil(tiny_model, tmp_path / folder, **changes)


@pytest.fixture(scope="session")
def undisturbed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a pupil leaves behind that nobody stops."""
    alone = Pupil(tiny_model, tmp_path_factory.mktemp("undisturbed"))
    alone.train()
    return alone.left_behind()
