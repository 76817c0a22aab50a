"""Checkpoints of a trainer that are whole or not there, and what it leaves when it is stopped.

What `Checkpointed` changes in a transformers Trainer, each time in one method:
- `_save_checkpoint` writes beside and renames (Run.writing_checkpoint), then drops old checkpoints;
- `train` keeps the state after the last whole update when it is stopped in the middle of the next: the weights move in
  the optimiser's step alone, and the generators of random numbers are remembered, so that state is still at hand;
- `training_step` and `_get_grad_norm` stop before an update whose loss or gradient is no finite number.

Processes that train together are stopped together: `training_step` asks before each pass whether one is to stop, and
`compute_loss` whether a loss is no number, as DeepSpeed takes the optimiser's step within the last backward pass.

Its `output_dir` must be Run.writing_folder, and its `save_total_limit` None.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finemem_pipeline import stopping
from finemem_pipeline.errors import FinememError
from finemem_pipeline.training.not_finite import Failed
from finemem_pipeline.training.runs import Run, step_of, write_json
from finemem_pipeline.training.together import ALONE, Team

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where checkpoints go, and what goes with them."""

    run: Run
    most: int  # so many stay
    beside: Mapping[str, Callable[[], Any]]  # file name -> what is to be written there, as JSON
    not_finite: Callable[[Failed], FinememError]
    """Gives the error to stop with."""
    spared: Callable[[TrainerState], set[int]] = lambda state: set()
    """Steps whose checkpoints are not dropped."""
    kept: Callable[[int], None] = lambda step: None
    """Told of every checkpoint that is in its place."""
    fill: Callable[[Path], None] = lambda folder: None
    """Puts more files into a checkpoint."""


@dataclass(frozen=True, slots=True)
class _Boundary:
    """What moves on within an update, as it was at its beginning."""

    step: int  # whole updates so far
    beside: dict[str, Any]
    of_python: Any
    of_numpy: Any
    of_torch: torch.Tensor
    of_cuda: torch.Tensor | None

    @classmethod
    def here(cls, step: int, beside: dict[str, Any]) -> _Boundary:
        of_cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(step, beside, random.getstate(), np.random.get_state(), torch.get_rng_state(), of_cuda)

    def draw_from_here(self) -> None:
        random.setstate(self.of_python)
        np.random.set_state(self.of_numpy)
        torch.set_rng_state(self.of_torch)
        if self.of_cuda is not None:
            torch.cuda.set_rng_state(self.of_cuda)


class Checkpointed(Trainer):
    """Mixin for a Trainer; put it before the trainer's own class."""

    def __init__(self, *args: Any, keeping: Keeping | None = None, team: Team = ALONE, **kwargs: Any) -> None:
        self._keeping = keeping
        self._team = team
        self._moving = False  # the weights are, or have been in this update
        self._boundary: _Boundary | None = None
        self._losses: list[torch.Tensor] = []
        super().__init__(*args, **kwargs)
        if keeping is not None:
            self.add_callback(_Updates(self))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            output = super().train(*args, **kwargs)
            self._may_stop()
        except (FinememError, stopping.Stopped, KeyboardInterrupt):
            self._save_as_it_was()
            raise
        return output

    def begin_update(self) -> None:
        """Called between two updates, when nothing is half done."""
        self._boundary = _Boundary.here(self.state.global_step, self._beside())
        self._moving = False
        self._may_stop()

    def move(self) -> None:
        """Called when the weights are about to."""
        self._moving = True
        stopping.hold()

    def _may_stop(self) -> None:
        if self._team.size > 1:
            self._team.stop_if_asked()
        else:
            stopping.release()

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self._team.stop_if_asked()
        loss = super().training_step(*args, **kwargs)
        self._losses.append(loss.detach())
        return loss

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        if self._team.size > 1 and self._keeping is not None and self.model.training:
            if self._team.any(not bool(torch.isfinite(loss))):
                failed = Failed(self.state.global_step + 1, math.nan, math.nan)
                self._team.all_fail(self._keeping.not_finite(failed))
            if self.accelerator.sync_gradients:
                self.move()
        return loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        found = super()._get_grad_norm(model, grad_norm=grad_norm)
        loss, self._losses = float(sum(self._losses)), []
        norm = loss if found is None else float(found)
        if self._keeping is not None and not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._keeping.not_finite(Failed(self.state.global_step + 1, loss, norm))
        return found

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self._keeping is None:
            super()._save_checkpoint(model, trial)
            return
        self._write_checkpoint(self._keeping, self._beside())
        self._keeping.kept(self.state.global_step)

    def _write_checkpoint(self, keeping: Keeping, beside: Mapping[str, Any]) -> None:
        step, together = self.state.global_step, self.accelerator.wait_for_everyone
        if not self.accelerator.is_main_process:
            together()  # the folder is there
            super()._save_checkpoint(self.model, None)
            together()  # all have written their part of it
            self._team.from_first(lambda: None)  # it is in its place
            return
        with keeping.run.writing_checkpoint(step) as folder:
            together()
            super()._save_checkpoint(self.model, None)
            for name, content in beside.items():
                write_json(folder / name, content)
            keeping.fill(folder)
            together()
        keeping.run.prune_checkpoints(keeping.most, keeping.spared(self.state))
        self._team.from_first(lambda: keeping.run.put_checkpoint(step))

    def _save_as_it_was(self) -> None:
        """A checkpoint of the last whole update, in the middle of the next one."""
        keeping, boundary, step = self._keeping, self._boundary, self.state.global_step
        if keeping is None or boundary is None or self._moving or not 0 < step == boundary.step:
            return
        newest = self._team.from_first(keeping.run.newest_checkpoint)
        if newest is not None and step_of(newest) >= step:
            return
        stopping.hold()
        boundary.draw_from_here()
        try:
            self._write_checkpoint(keeping, boundary.beside)
            keeping.kept(step)
        except FinememError as error:  # the one that stopped the run is told to the user
            log.warning("%s", error)

    def stops(self) -> bool:
        """Whether it, or one that it trains with, has been asked to."""
        return self._team.any(stopping.asked())

    def _beside(self) -> dict[str, Any]:
        return {name: content() for name, content in self._keeping.beside.items()} if self._keeping else {}


class _Updates(TrainerCallback):
    """From the optimiser's step to the end of what is written after it, an update is not interrupted."""

    def __init__(self, trainer: Checkpointed) -> None:
        self.trainer = trainer

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.begin_update()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.trainer.move()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.trainer.stops():
            control.should_training_stop = control.should_save = True
