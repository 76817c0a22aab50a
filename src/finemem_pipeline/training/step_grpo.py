"""Step-level GRPO on TRL's trainer: every step of every rollout is a training row with an advantage of its own.

How it departs from trl.GRPOTrainer, each time in one method:
- rows are (episode, step) pairs, G siblings in a row, and `rollout_func` plays whole streams for them (TRL's own seam);
- `_generate_and_score_completions` puts the (G, T) advantages that `credit` computed in place of TRL's;
- `_prepare_inputs` deals the rows anew: those that cannot move the policy are left out (fillers, and advantage 0
  without a KL term), the others go through the model longest first, as `passes` says. The loss denominator stays that
  of the full batch, so the gradient is the same. Processes that train together take equally many rows in each pass, at
  least one: TRL gathers a number of each.
- `_compute_loss` has nothing to do in a pass that is left without rows.
Loss, clipping, optimiser, PEFT and logging are TRL's; `checkpoints` says what becomes of checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl import GRPOTrainer

from datasets import Dataset
from finemem_pipeline.training.checkpoints import Checkpointed
from finemem_pipeline.training.passes import deal, spread
from finemem_pipeline.training.samples import StepSample

PlayStep = Callable[[int, Sequence[int]], list[StepSample]]
"""(update, episode indices) -> the rows of those episodes, in the order of `samples.step_samples`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Shape of a training batch: E episodes × T steps × G siblings."""

    episodes: int
    steps: int
    siblings: int

    @property
    def rows(self) -> int:
        return self.episodes * self.steps * self.siblings

    @property
    def repeats(self) -> int:
        """How often TRL is to repeat a data-set row: at least twice, so a single sibling has its steps stand in."""
        return self.siblings if self.siblings > 1 else self.steps

    def keys(self, episodes: Sequence[int]) -> list[list[int]]:
        """What a data-set row holds, row after row: [episode, step], or [episode, 0] for a single sibling."""
        return [[episode, t] for episode in episodes for t in range(self.steps if self.siblings > 1 else 1)]


def schedule_dataset(order: Sequence[int], layout: Layout) -> Dataset:
    """The data-set rows of all updates; TRL repeats each and must not shuffle them."""
    return Dataset.from_dict({"prompt": [json.dumps(key) for key in layout.keys(order)]})


class StepGRPOTrainer(Checkpointed, GRPOTrainer):
    """GRPO over steps. `play_step` plays the streams of an update and returns its rows with their advantages."""

    def __init__(self, *args: Any, play_step: PlayStep, layout: Layout, **kwargs: Any) -> None:
        self._play_step = play_step
        self._layout = layout
        self._advantages = torch.zeros(0)
        self._passes: list[dict[str, Any]] = []
        super().__init__(*args, rollout_func=self._play, reward_funcs=_no_reward, **kwargs)

    def _play(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        shape = self._layout
        keys = [json.loads(prompt) for prompt in prompts]
        episodes = [e for e, t in keys[:: shape.repeats] if t == 0]
        if keys != [key for key in shape.keys(episodes) for _ in range(shape.repeats)]:
            raise RuntimeError("the trainer handed out rows in another order than episodes × steps × siblings")
        samples = self._play_step(self.state.global_step + 1, episodes)
        self._advantages = torch.tensor([sample.advantage for sample in samples], dtype=torch.float32)
        return {
            "prompt_ids": [list(sample.prompt_ids) for sample in samples],
            "completion_ids": [list(sample.completion_ids) for sample in samples],
            "logprobs": None,  # type: ignore[dict-item]  # the update is on policy: TRL needs none
            "env_mask": [[0 if sample.filler else 1] * len(sample.completion_ids) for sample in samples],
        }

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        output["advantages"] = self._advantages.to(output["advantages"].device)
        self._passes = self._dealt(output)
        return output

    def _prepare_inputs(self, generation_batch: dict[str, Any]) -> dict[str, Any]:
        super()._prepare_inputs(generation_batch)
        return self._passes[self._step % self.args.steps_per_generation]

    def _dealt(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows that learn, in as many parts as TRL makes passes; the last ones may be without any."""
        learns = self.learns(batch)
        prompts, completions = batch["prompt_mask"].sum(dim=1), batch["completion_mask"].sum(dim=1)
        longest = torch.argsort(prompts + completions, descending=True, stable=True)
        order = torch.cat([longest[learns[longest]], longest[~learns[longest]].flip(0)])
        sizes = [(int(prompts[place]), int(completions[place])) for place in order]
        told = self._team.apart(lambda: (int(learns.sum()), sizes))
        count, passes = max(each for each, _ in told), self.args.steps_per_generation
        if self._team.size > 1:
            count = max(count, passes)
        widest = [tuple(map(max, zip(*each, strict=True))) for each in zip(*(s for _, s in told), strict=True)][:count]
        counts = deal(widest, self.args.per_device_train_batch_size)
        if self._team.size > 1:
            counts = spread(counts, passes)
        parts = order[:count].split([*counts, *[0] * (passes - len(counts))])
        return [rows_of(batch, places) for places in parts]

    def learns(self, batch: dict[str, Any]) -> torch.Tensor:
        """(B,) Which rows can move the policy."""
        live = (batch["completion_mask"] * batch["tool_mask"]).any(dim=1)
        return live if self.beta else live & (batch["advantages"] != 0)

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        if not len(inputs["advantages"]):
            # No row moves the policy: a zero that still hangs on the graph, so that accumulation goes on.
            weight = next(parameter for parameter in model.parameters() if parameter.requires_grad)
            return weight.sum() * 0.0
        return super()._compute_loss(model, inputs)


def rows_of(batch: dict[str, Any], places: torch.Tensor) -> dict[str, Any]:
    """Those rows of a batch, without the padding that all of them have."""
    rows = {name: value[places] if torch.is_tensor(value) and value.dim() else value for name, value in batch.items()}
    left = int(rows["prompt_mask"].sum(dim=1).max()) if len(places) else 0
    right = int(rows["completion_mask"].sum(dim=1).max()) if len(places) else 0
    for name, value in rows.items():
        if name.startswith("prompt_"):
            rows[name] = value[:, value.size(1) - left :]
        elif torch.is_tensor(value) and value.dim() == 2:
            rows[name] = value[:, :right]
    return rows


def _no_reward(prompts: list[str], **_: Any) -> list[float]:
    """TRL insists on a reward function; the advantages do not come from it."""
    return [0.0] * len(prompts)
