"""Imitation of the scripted teacher: the warm start of reinforcement learning, and the baseline it must beat.

One supervised run gives both. After `steps` updates it hands over the policy that knows the format (the warm start);
it then goes on until the loss on held-out demonstrations stops improving: the teacher imitated to convergence. A run
that was interrupted goes on from its newest checkpoint, as reinforcement learning does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

from datasets import Dataset
from finemem_pipeline.episodes import Episode
from finemem_pipeline.manager import Observation
from finemem_pipeline.manager.policy import Prompter
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.memory import MemoryBank, parse_operations
from finemem_pipeline.training.checkpoints import Checkpointed, Keeping
from finemem_pipeline.training.hardware import device, give_back_memory, on_one_device
from finemem_pipeline.training.not_finite import keep_demonstrations
from finemem_pipeline.training.policy import TEMPLATE_ARGUMENTS
from finemem_pipeline.training.runs import Run, checkpoint_name
from finemem_pipeline.training.samples import Demonstration


@dataclass(frozen=True, slots=True)
class WarmStart:
    """Constants of the imitation; conf/base/parameters_training.yml explains them."""

    steps: int
    batch: int
    micro_batch: int
    imitation_steps: int
    patience: int
    check_every: int
    learning_rate: float
    bf16: bool
    gradient_checkpointing: bool
    seed: int
    checkpoint_every: int
    keep_checkpoints: int


def demonstrations(
    episodes: Sequence[Episode], teacher: Teacher, prompter: Prompter, most: int
) -> list[dict[str, Any]]:
    """At most `most` pairs of what the policy would see and what the teacher does then, stream after stream."""
    shown: list[dict[str, Any]] = []
    for episode in episodes:
        bank = MemoryBank()
        for chunk in episode.chunks:
            if len(shown) >= most:
                return shown
            observation = Observation(episode, chunk, bank)
            prompt, shown_ids = prompter(observation)
            # The teacher sees the items that the policy would see: it must not teach to update hidden ones.
            visible = replace(bank, items=tuple(item for item in bank.items if item.id in shown_ids))
            [turn] = teacher.act([replace(observation, bank=visible)])
            shown.append(
                {
                    "prompt": list(prompt),
                    "completion": [{"role": "assistant", "content": turn.completion.text}],
                    "chat_template_kwargs": TEMPLATE_ARGUMENTS,
                }
            )
            for operation in parse_operations(turn.completion.text).operations:
                bank, _ = bank.apply(operation, chunk.index)
    return shown


class _Supervised(Checkpointed, SFTTrainer):
    """TRL's trainer, with our checkpoints. It remembers the rows of the update at work, for one that fails."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.learning: list[Demonstration] = []
        super().__init__(*args, **kwargs)

    def begin_update(self) -> None:
        self.learning = []
        super().begin_update()

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        for ids, labels, there in zip(inputs["input_ids"], inputs["labels"], inputs["attention_mask"], strict=True):
            asked, whole = int(labels.ne(-100).int().argmax()), int(there.sum())
            self.learning.append(Demonstration(tuple(ids[:asked].tolist()), tuple(ids[asked:whole].tolist())))
        return super().training_step(model, inputs, *args, **kwargs)


class _Diary(TrainerCallback):
    """Keeps the weights after a given number of updates, and ends the run once the held-out loss stands still."""

    def __init__(self, step: int, patience: int, keep: Callable[[], None], on_step: Callable[[int, int], None]) -> None:
        self.step = step
        self.patience = patience
        self.keep = keep
        self.on_step = on_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        give_back_memory()
        self.on_step(state.global_step, args.max_steps)
        if state.global_step == self.step:
            self.keep()
        control.should_save |= state.global_step >= args.max_steps

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_save = True  # the best weights are those of one of these checkpoints
        control.should_training_stop |= has_converged(state.log_history, self.patience)


History = Sequence[Mapping[str, Any]]
"""TrainerState.log_history: rows of {"step", …}, and "eval_loss" in those of the checks on held-out demonstrations."""


def _checks(history: History) -> list[tuple[int, float]]:
    """(step, loss on held-out demonstrations) of every check so far."""
    return [(row["step"], row["eval_loss"]) for row in history if "eval_loss" in row]


def best_step(history: History) -> int:
    """The step with the lowest loss, the first of equals; 0 before the first check."""
    return min(_checks(history), key=lambda check: check[1], default=(0, 0.0))[0]


def has_converged(history: History, patience: int) -> bool:
    """Whether the last `patience` checks in a row brought no lower loss than one before."""
    return sum(step > best_step(history) for step, _ in _checks(history)) >= patience


log = logging.getLogger(__name__)

WARM, IMITATION = "warm", "imitation"


def imitate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[dict[str, Any]],
    held_out: Sequence[dict[str, Any]],
    settings: WarmStart,
    run: Run,
    on_step: Callable[[int, int], None],
) -> tuple[Path, Path | None]:
    """Folders of the warm-started weights and of the converged ones (None if imitation_steps does not exceed steps).

    From the newest checkpoint of the run if there is one.
    """
    set_seed(settings.seed)
    last = max(settings.steps, settings.imitation_steps)
    micro_batch = max(n for n in range(1, settings.micro_batch + 1) if settings.batch % n == 0)
    converge = settings.imitation_steps > settings.steps
    arguments = SFTConfig(
        output_dir=str(run.writing_folder),
        per_device_train_batch_size=micro_batch,
        per_device_eval_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.batch // micro_batch,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        max_steps=last,
        max_length=None,
        completion_only_loss=True,
        bf16=settings.bf16,
        gradient_checkpointing=settings.gradient_checkpointing,
        use_cpu=device() == "cpu",
        seed=settings.seed,
        eval_strategy="steps" if converge else "no",
        eval_steps=settings.check_every,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
    )
    on_one_device(arguments)

    def keep_warm() -> None:
        run.keep(WARM, lambda folder: trainer.model.save_pretrained(folder))

    trainer = _Supervised(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(list(train)),
        eval_dataset=Dataset.from_list(list(held_out)) if converge else None,
        callbacks=[_Diary(settings.steps, settings.patience, keep_warm, on_step)],
        keeping=Keeping(
            run,
            settings.keep_checkpoints,
            beside={},
            not_finite=lambda failed: keep_demonstrations(
                run,
                failed,
                asdict(settings),
                trainer.learning,
                tokenizer,
                lambda folder: trainer.model.save_pretrained(folder),
            ),
            spared=lambda state: {best_step(state.log_history)},
        ),
    )
    trainer.remove_callback(PrinterCallback)  # the progress bar tells enough
    if settings.steps == 0:
        keep_warm()  # as it came
    run.catch_up()
    run.has(WARM)
    checkpoint = run.newest_checkpoint()
    if checkpoint is not None:
        trainer.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    ended = trainer.state.global_step >= last or has_converged(trainer.state.log_history, settings.patience)
    if not ended:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
    elif checkpoint is not None:  # what was interrupted is what follows
        trainer._load_from_checkpoint(str(checkpoint))
    done, best = trainer.state.global_step, best_step(trainer.state.log_history)
    if best not in (0, done):
        trainer._load_from_checkpoint(str(run.checkpoints_folder / checkpoint_name(best)))
    if not run.result(WARM).exists():  # it converged before the hand-over
        keep_warm()
    if not converge:
        return run.result(WARM), None
    if done == last == best:
        log.warning(
            "the imitation of the teacher was still improving after %d updates: for a fair comparison raise "
            "training.warm_start.imitation_steps",
            last,
        )
    return run.result(WARM), run.keep(IMITATION, lambda folder: trainer.model.save_pretrained(folder))
