"""How far a policy moves: from where it began, and in one update. Kullback-Leibler divergences of the next token.

Both are means over the tokens that the policy before the update has sampled, of exp(d) − d − 1, where d is the
log-probability under the other policy less that under the one that sampled: never negative, and on average the
divergence of the two. It is what TRL reports as `kl` where the loss has a KL term, over all rows; here a row in sixteen
is looked at, which costs about a fortieth of an update. Nothing is drawn at random, dropout is off.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finemem_pipeline.clock import Clock
from finemem_pipeline.training.samples import StepSample

ONE_IN = 16
LEAST = 2  # rows


class Drift(TrainerCallback):
    """`before` and the end of the update look at the same rows; `measures` is what was found last."""

    def __init__(
        self, model: PreTrainedModel | PeftModel, *, temperature: float, batch: int, clock: Clock, start: bool
    ) -> None:
        """`model` is the policy as its training began; with `start` False the way from there is not measured. It is not
        either where all weights are trained, for want of a second copy. `batch` rows are looked at together.
        """
        self.measures: dict[str, float] = {}
        self.trainer: Trainer | None = None
        self._temperature = temperature
        self._batch = batch
        self._clock = clock
        self._start = _twin(model) if start and isinstance(model, PeftModel) else None
        self._rows: list[StepSample] = []
        self._then: list[torch.Tensor] = []

    def before(self, rows: Sequence[StepSample]) -> None:
        """Called with the rows of all processes, when they have been played and before they are learned."""
        trainer = self.trainer
        assert trainer is not None
        with self._clock("measure"):
            self._rows = share(chosen(rows), trainer.accelerator.process_index, trainer.accelerator.num_processes)
            self._then = self._logprobs(trainer.model)
            self.measures = {}
            start = self._start
            # DeepSpeed's ZeRO-3 takes the weights apart that the twin shares with the policy.
            if start is not None and not any(hasattr(weight, "ds_id") for weight in start.parameters()):
                self.measures["kl"] = self._divergence(self._logprobs(start.to(trainer.accelerator.device)))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        assert self.trainer is not None
        with self._clock("measure"):
            self.measures["kl_update"] = self._divergence(self._logprobs(self.trainer.model))

    @torch.no_grad()
    def _logprobs(self, model: torch.nn.Module) -> list[torch.Tensor]:
        """Of the sampled tokens, (L,) for each row; fillers have none."""
        assert self.trainer is not None
        learning = model.training
        model.eval()
        found: list[torch.Tensor] = []
        for first in range(0, len(self._rows), self._batch):
            rows = self._rows[first : first + self._batch]
            length = max(len(row.completion_ids) for row in rows)
            whole = [row.prompt_ids + row.completion_ids for row in rows]
            longest = max(map(len, whole))
            # Padded on the left: all rows end together.
            ids = torch.tensor([[ids[0]] * (longest - len(ids)) + list(ids) for ids in whole])
            mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in whole])
            ids, mask = ids.to(self.trainer.accelerator.device), mask.to(self.trainer.accelerator.device)
            with self.trainer.accelerator.autocast():
                logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=length + 1, use_cache=False).logits[
                    :, -length - 1 : -1
                ]
            logits = logits.float() / self._temperature
            said = ids[:, -length:]
            told = logits.gather(2, said[:, :, None])[:, :, 0] - logits.logsumexp(dim=-1)
            found += [
                told[place, length - len(row.completion_ids) :] if not row.filler else told[place, :0]
                for place, row in enumerate(rows)
            ]
        model.train(learning)
        return found

    def _divergence(self, others: Sequence[torch.Tensor]) -> float:
        """From the policy that sampled to another one, over the rows of all processes."""
        assert self.trainer is not None
        apart = torch.cat(list(others)) - torch.cat(self._then)
        summed = torch.stack([(apart.exp() - apart - 1).sum(), torch.tensor(float(len(apart)), device=apart.device)])
        total, count = self.trainer.accelerator.reduce(summed, reduction="sum").tolist()
        return float(total / count) if count else 0.0


def chosen(rows: Sequence[StepSample]) -> list[StepSample]:
    """One in sixteen, evenly spread over those that were played."""
    played = [row for row in rows if not row.filler]
    most = min(len(played), max(LEAST, len(rows) // ONE_IN))
    return [played[place * len(played) // most] for place in range(most)]


def share(rows: Sequence[StepSample], process: int, processes: int) -> list[StepSample]:
    """What one of so many processes looks at. All look at as many: where weights are sharded they look together."""
    mine = list(rows[process::processes])
    most = -(-len(rows) // processes)
    return mine + [replace(row, filler=True) for row in rows[: most - len(mine)]]


def _twin(model: PeftModel) -> PeftModel:
    """A frozen copy of the adapter, on the same base weights."""
    shared = {id(weight): weight for weight in model.parameters() if not weight.requires_grad}
    twin = copy.deepcopy(model, shared)
    twin.requires_grad_(False)
    return twin.eval()
