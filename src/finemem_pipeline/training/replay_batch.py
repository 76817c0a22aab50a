"""Goes through an update again that was not made because its loss was no number, row by row.

    python -m finemem_pipeline.training.replay_batch data/06_models/<run>/not_finite/step-00007

Run it in the folder of the project. It prints the loss and the gradient norm of every row by itself.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finemem_pipeline.errors import FinememError
from finemem_pipeline.reasoning.probes import Sample
from finemem_pipeline.training.hardware import device
from finemem_pipeline.training.not_finite import BATCH, WEIGHTS, read_demonstrations, read_rows
from finemem_pipeline.training.policy import load_tokenizer, load_trainable
from finemem_pipeline.training.samples import Demonstration, StepSample
from finemem_pipeline.training.step_grpo import Layout, StepGRPOTrainer, rows_of, schedule_dataset
from finemem_pipeline.training.train import Settings, arguments
from finemem_pipeline.training.warm_start import WARM


@dataclass(frozen=True, slots=True)
class ReplayedRow:
    """One training row by itself. The losses of all rows add up to that of the update."""

    sample: StepSample | Demonstration
    loss: float
    grad_norm: float

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def replay(folder: Path, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> list[ReplayedRow]:
    """The rows of a failed update, fillers left out. `model` is the policy as its training began."""
    told = json.loads((folder / BATCH).read_text(encoding="utf-8"))["settings"]
    settings = replace(Settings(**{**told, "retention": Sample(**told["retention"])}), steps=1)
    rows = read_rows(folder)
    layout = Layout(
        settings.episodes_per_step,
        len(rows) // (settings.episodes_per_step * settings.group_size),
        settings.group_size,
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = StepGRPOTrainer(
            model=model,  # with a KL term TRL takes it for the reference, so the weights come afterwards
            args=arguments(settings, layout, Path(scratch)),
            processing_class=tokenizer,
            train_dataset=schedule_dataset(range(settings.episodes_per_step), layout),
            play_step=lambda update, episodes: rows,
            layout=layout,
        )
        trainer._load_from_checkpoint(str(folder / WEIGHTS))
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation  # as in a whole update
        batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
        return [
            ReplayedRow(sample, *_alone(trainer, batch, place))
            for place, sample in enumerate(rows)
            if not sample.filler
        ]


def replay_demonstrations(folder: Path, model: PreTrainedModel | PeftModel) -> list[ReplayedRow]:
    """The rows of a failed update of the warm start. `model` is the policy as it was then."""
    bf16 = json.loads((folder / BATCH).read_text(encoding="utf-8"))["settings"]["bf16"]
    rows = read_demonstrations(folder)
    tokens = sum(len(row.completion_ids) for row in rows)
    model.to(device()).train()
    found = []
    for row in rows:
        model.zero_grad()
        ids = torch.tensor([row.prompt_ids + row.completion_ids], device=model.device)
        with torch.autocast(device(), torch.bfloat16, enabled=bf16):
            logits = model(input_ids=ids, logits_to_keep=len(row.completion_ids) + 1).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[0, -len(row.completion_ids) :], reduction="sum")
        (loss / tokens).backward()
        found.append(ReplayedRow(row, float(loss.detach()) / tokens, _gradient(model)))
    return found


def _alone(trainer: StepGRPOTrainer, batch: dict[str, Any], place: int) -> tuple[float, float]:
    one = rows_of(batch, torch.tensor([place])[trainer.learns(batch)[place : place + 1]])
    trainer.model.zero_grad()
    with trainer.compute_loss_context_manager():
        loss = trainer._compute_loss(trainer.model, one)
    loss.backward()
    return float(loss.detach()), _gradient(trainer.model)


def _gradient(model: torch.nn.Module) -> float:
    """Its norm."""
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def _name(sample: StepSample | Demonstration, place: int) -> str:
    if isinstance(sample, Demonstration):
        return f"row {place}"
    episode, sibling, step = sample.key
    return f"{episode} sibling {sibling} step {step}: advantage {sample.advantage:+.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Goes through an update again that was not made, row by row.")
    parser.add_argument("folder", type=Path, help="data/06_models/<run>/not_finite/step-<update>")
    folder: Path = parser.parse_args(arguments).folder.resolve()
    run = folder.parents[1]
    try:
        told = json.loads((folder / BATCH).read_text(encoding="utf-8"))
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{folder}: expected a folder <run>/not_finite/step-<update>, found {error}") from error
    recipe = config["recipe"]
    imitated = isinstance(config["warm_start"], dict)  # a warm start has its constants there, a training its name
    start = folder / WEIGHTS if imitated else run.parent / config["warm_start"] / WARM
    try:
        model = load_trainable(recipe["model"], start, recipe["lora"])
        rows = (
            replay_demonstrations(folder, model) if imitated else replay(folder, model, load_tokenizer(recipe["model"]))
        )
    except FinememError as error:
        raise SystemExit(f"Error: {error}") from error
    click.echo(f"update {told['update']}: loss {told['loss']}, gradient norm {told['grad_norm']}")
    for place, row in enumerate(rows, 1):
        click.echo(
            f"{'  ' if row.finite else '!!'} {_name(row.sample, place)}, {len(row.sample.prompt_ids)}+"
            f"{len(row.sample.completion_ids)} tokens, loss {row.loss:.4g}, gradient norm {row.grad_norm:.4g}"
        )
    click.echo(f"{sum(not row.finite for row in rows)} of {len(rows)} rows are not finite")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
