"""The training loop: play, score, learn, write down."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig

from finemem_pipeline import progress
from finemem_pipeline.clock import Clock
from finemem_pipeline.credit import MovingBaseline
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import FinememError
from finemem_pipeline.manager import Manager
from finemem_pipeline.manager.play import play
from finemem_pipeline.memory import CountTokens
from finemem_pipeline.reasoning.probes import Sample, probe
from finemem_pipeline.reasoning.reader import Reader, Usage
from finemem_pipeline.records import encode_rollout
from finemem_pipeline.reporting.alarms import ALARMS, Watch
from finemem_pipeline.rewards import Variant, score_group
from finemem_pipeline.rollouts import RolloutGroup
from finemem_pipeline.training import not_finite, zero
from finemem_pipeline.training.checkpoints import Keeping
from finemem_pipeline.training.drift import Drift
from finemem_pipeline.training.hardware import device, give_back_memory, on_one_device
from finemem_pipeline.training.measures import copied_share, learned_tokens, step_measures
from finemem_pipeline.training.not_finite import Failed, NotFiniteError
from finemem_pipeline.training.paid import PAID, Answers, Paid
from finemem_pipeline.training.runs import Run, step_of
from finemem_pipeline.training.samples import StepSample, step_samples
from finemem_pipeline.training.schedule import episode_order, longest, question_subset, reply_seed
from finemem_pipeline.training.step_grpo import Layout, StepGRPOTrainer, schedule_dataset
from finemem_pipeline.training.together import ALONE, Team

log = logging.getLogger(__name__)


def retell(run: Run, steps: int) -> None:
    """Reports the metrics of updates done earlier, so that whoever records this run has the whole curve."""
    for row in run.metrics():
        if row["step"] > steps:
            break  # the run went on from there once
        progress.report(
            row["step"], {name: value for name, value in row.items() if name != "step" and value is not None}
        )


def save_weights(model: PreTrainedModel | PeftModel, folder: Path, state: dict[str, Any] | None = None) -> None:
    """The trained adapter alone (with a KL term there is a second, frozen one), or all the weights.

    `state` is given where the model's own weights are sharded.
    """
    if isinstance(model, PeftModel):
        model.save_pretrained(str(folder), selected_adapters=["default"], state_dict=state)
    else:
        model.save_pretrained(folder, state_dict=state)


def result_name(steps: int) -> str:
    """The folder, within a run, of the weights after that many updates."""
    return f"policy-{steps:05d}"


BASELINE = "baseline.json"
"""Beside a checkpoint: what advantages that remember have seen so far."""

OnPhase = Callable[[int, str], None]
"""(update, what is happening): for progress bars."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Constants of one training run; conf/base/parameters_training.yml and _recipes.yml explain them."""

    steps: int
    group_size: int
    episodes_per_step: int
    seed: int
    question_share: float
    question_floor: int
    retention: Sample
    epsilon: float
    kl: float
    learning_rate: float
    warmup_steps: int
    max_grad_norm: float
    micro_batch: int
    max_completion_tokens: int
    temperature: float
    gradient_checkpointing: bool
    bf16: bool
    checkpoint_every: int
    keep_checkpoints: int
    zero_stage: int = 2


@dataclass(frozen=True, slots=True)
class _Played:
    """What one process contributes to an update."""

    groups: Sequence[RolloutGroup]
    used: Usage


class Practice:
    """Plays the streams of an update, scores them, and keeps what is to be logged.

    Processes that train together play a share of the streams each, tell each other what was played, and score all of
    it, each for itself: so baselines, measures and rows are the same on all, and those of a process that is alone.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        manager: Manager,
        reader: Reader,
        count_tokens: CountTokens,
        variant: Variant,
        settings: Settings,
        clock: Clock,
        filler_id: int,
        rollouts_folder: Path,
        on_phase: OnPhase,
        team: Team = ALONE,
    ) -> None:
        self.episodes = episodes
        self.manager = manager
        self.reader = reader
        self.count_tokens = count_tokens
        self.variant = variant
        self.settings = settings
        self.clock = clock
        self.filler_id = filler_id
        self.rollouts_folder = rollouts_folder
        self.on_phase = on_phase
        self.team = team
        self.longest = longest(episodes)
        self.baseline = MovingBaseline()
        self.measures: dict[str, float | None] = {}

    def play_step(self, update: int, indices: Sequence[int]) -> list[StepSample]:
        """The rows of one update, advantages included; its measures are left in `measures`.

        `indices` are the streams of this process; rows and measures are those of all.
        """
        self.clock.reset()
        with self.clock("wait") if self.team.size > 1 else nullcontext():
            told = self.team.apart(lambda: self._play(update, indices))
        groups = [group for played in told for group in played.groups]
        with self.clock("score"):
            scores = [score_group(group, self.variant, self.baseline) for group in groups]
            rows = step_samples(groups, [score.advantages for score in scores], self.longest, self.filler_id)
        if self.team.first:
            with self.clock("write"):
                self._write(update, groups, [score.advantages for score in scores])
        self.measures = step_measures(groups, scores, self.clock.reset())
        used = [played.used for played in told]
        self.measures |= {
            "reader/questions": float(sum(each.questions for each in used)),
            "reader/calls": float(sum(each.calls for each in used)),
            "reader/cache_hits": float(sum(each.questions - each.calls for each in used)),
            "memory/copied_share": copied_share(groups, {episode.id: episode for episode in self.episodes}),
            "tokens_learned": float(learned_tokens(rows, every=self.settings.kl > 0)),
        }
        self.on_phase(update, "learning")
        return rows

    def _play(self, update: int, indices: Sequence[int]) -> _Played:
        before = self.reader.usage
        chosen = [self.episodes[i] for i in indices]
        draw = question_subset(self.settings.question_share, self.settings.question_floor, self.settings.seed, update)
        first = self.team.rank * len(indices)

        def on_wave(wave: int, waves: int) -> None:
            self.on_phase(update, f"playing chunk {wave} of {waves}")
            self.team.check()

        groups = play(
            chosen,
            self.manager,
            self.reader,
            self.count_tokens,
            siblings=self.settings.group_size,
            questions=draw,
            clock=self.clock,
            on_wave=on_wave,
            seed=lambda place, sibling, step: reply_seed(self.settings.seed, update, first + place, sibling, step),
        )
        if self.variant.probes:
            with self.clock("read"):
                groups = probe(groups, chosen, self.reader, self.variant.probes, self.settings.retention)
        return _Played(groups, self.reader.usage.since(before))

    def _write(self, update: int, groups: Sequence[RolloutGroup], advantages: Sequence[np.ndarray]) -> None:
        self.rollouts_folder.mkdir(parents=True, exist_ok=True)
        path = self.rollouts_folder / f"step-{update:05d}.jsonl"
        part = path.with_name(f".{path.name}.part")
        with part.open("w", encoding="utf-8") as stream:
            for group, advantage in zip(groups, advantages, strict=True):
                for g, rollout in enumerate(group.rollouts):
                    row = {"update": update, "advantages": advantage[g].tolist(), "rollout": encode_rollout(rollout)}
                    stream.write(json.dumps(row) + "\n")
        os.replace(part, path)


# TRL's names and ours.
_TRAINER_METRICS = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "kl": "kl",
    "clip_ratio/region_mean": "clip_ratio",
}


class _Tidy(TrainerCallback):
    """Between updates."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_save |= state.global_step >= args.max_steps  # so that a longer run can go on from here
        give_back_memory()


class _Diary(_Tidy):
    """Writes one row of metrics per update, and warns of collapses."""

    def __init__(self, run: Run, practice: Practice, drift: Drift | None = None) -> None:
        self.run = run
        self.practice = practice
        self.drift = drift
        self.watch = Watch([name for name, term in practice.variant.terms.items() if term.weight])
        for row in run.metrics():
            self.watch.see(row)
        self.started = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return  # the trainer's summary at its end
        now = time.perf_counter()
        taken, self.started = now - self.started, now
        row: dict[str, Any] = dict(self.practice.measures) | (self.drift.measures if self.drift else {})
        row |= {f"seconds/{phase}": spent for phase, spent in self.practice.clock.reset().items()}
        row |= {ours: float(logs[theirs]) for theirs, ours in _TRAINER_METRICS.items() if logs.get(theirs) is not None}
        played = sum(value or 0.0 for name, value in row.items() if name.startswith("seconds/"))
        row["seconds/backward"] = max(0.0, taken - played)
        row["seconds/step"] = taken
        said, learned = (row.pop(name) or 0.0 for name in ("tokens_said", "tokens_learned"))
        row["tokens_per_second"] = (row.pop("tokens") or 0.0) / taken
        row["tokens_per_second_generated"] = said / row["seconds/generate"] if row["seconds/generate"] else None
        row["tokens_per_second_learned"] = learned / row["seconds/backward"] if row["seconds/backward"] else None
        for name in self.watch.see(row):
            log.warning("update %d, %s: %s", state.global_step, name, ALARMS[name].message(row))
        row |= self.watch.columns
        self.run.append_metrics({"step": state.global_step, **row})
        progress.report(state.global_step, {name: value for name, value in row.items() if value is not None})


def train(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    practice: Practice,
    settings: Settings,
    run: Run,
    sync: Callable[[PreTrainedModel | PeftModel], None],
    team: Team = ALONE,
) -> Path:
    """Trains to settings.steps, from the newest complete checkpoint of the run if there is one.

    `sync` brings the playing copy up to date before each update. Returns the folder of the finished weights.
    """
    set_seed(settings.seed)
    if settings.steps == 0:
        return team.from_first(lambda: run.keep(result_name(0), lambda folder: save_weights(model, folder)))
    layout = Layout(settings.episodes_per_step // team.size, practice.longest, settings.group_size)
    if layout.repeats < 2:
        raise FinememError(
            "training.group_size: found 1 with streams of a single chunk, where TRL finds nothing to put side by side. "
            "Take at least 2 siblings."
        )
    answers = Answers(practice.reader.cache, run.folder)
    checkpoint = team.from_first(lambda: _take_up(run, settings, answers))
    done = step_of(checkpoint) if checkpoint is not None else 0
    if checkpoint is not None:
        practice.baseline = MovingBaseline(**json.loads((checkpoint / BASELINE).read_text(encoding="utf-8")))
    paid = Paid(run.folder / (PAID if team.first else f"{team.rank}-{PAID}"), done)
    practice.reader = paid.around(practice.reader)
    order = episode_order(len(practice.episodes), settings.steps * settings.episodes_per_step, settings.seed)
    played: list[StepSample] = []
    drift = Drift(
        model,
        temperature=settings.temperature,
        batch=settings.micro_batch,
        clock=practice.clock,
        start=settings.kl == 0,
    )

    def play_synced(update: int, indices: Sequence[int]) -> list[StepSample]:
        if team.size > 1:
            zero.check(trainer, settings.zero_stage)
        sync(trainer.accelerator.unwrap_model(trainer.model))
        paid.update = update
        played[:] = practice.play_step(update, indices)
        drift.before(played)
        return played[team.rank * layout.rows : (team.rank + 1) * layout.rows]

    def keep_batch(failed: Failed) -> FinememError:
        state = zero.whole_state(trainer)
        told = team.from_first(
            lambda: str(
                not_finite.keep(
                    run,
                    failed,
                    asdict(settings),
                    played,
                    tokenizer,
                    lambda folder: save_weights(trainer.model, folder, state),
                )
            )
        )
        return NotFiniteError(told)

    trainer = StepGRPOTrainer(
        model=model,
        args=arguments(settings, layout, run.writing_folder, team),
        processing_class=tokenizer,
        train_dataset=schedule_dataset(order, layout),
        play_step=play_synced,
        layout=layout,
        callbacks=[drift, _Diary(run, practice, drift) if team.first else _Tidy()],
        keeping=Keeping(
            run,
            settings.keep_checkpoints,
            beside={BASELINE: lambda: asdict(practice.baseline)},
            not_finite=keep_batch,
            kept=paid.settle,
            fill=answers.pack,
        ),
        team=team,
    )
    drift.trainer = trainer
    trainer.remove_callback(PrinterCallback)  # the metric file and the progress bar tell the same
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
    state = zero.whole_state(trainer)
    return team.from_first(
        lambda: run.keep(result_name(settings.steps), lambda folder: save_weights(trainer.model, folder, state))
    )


def _take_up(run: Run, settings: Settings, answers: Answers) -> Path | None:
    """The checkpoint to go on from. What was left of later updates is dropped, earlier ones are told again."""
    run.catch_up()
    checkpoint = run.newest_checkpoint()
    if checkpoint is not None and step_of(checkpoint) > settings.steps:
        raise FinememError(
            f"{run.folder} has already been trained to step {step_of(checkpoint)}, {settings.steps} are asked for. "
            "Ask for at least as many steps, or start anew with training.resume=never."
        )
    run.forget_after(step_of(checkpoint) if checkpoint is not None else 0)
    retell(run, settings.steps)
    if checkpoint is not None:
        answers.unpack(checkpoint)
    return checkpoint


def arguments(settings: Settings, layout: Layout, output: Path, team: Team = ALONE) -> GRPOConfig:
    """TRL's constants; `layout` is the share of one process."""
    micro_batch = max(n for n in range(1, settings.micro_batch + 1) if layout.rows % n == 0)
    if team.size > 1:
        zero.start()
    told = GRPOConfig(
        output_dir=str(output),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=layout.rows // micro_batch,
        steps_per_generation=layout.rows // micro_batch,
        num_generations=layout.repeats,
        max_completion_length=settings.max_completion_tokens,
        temperature=settings.temperature,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=settings.warmup_steps,
        max_grad_norm=settings.max_grad_norm,
        max_steps=settings.steps,
        beta=settings.kl,
        epsilon=settings.epsilon,
        loss_type="dapo",
        bf16=settings.bf16 and team.size == 1,
        gradient_checkpointing=settings.gradient_checkpointing,
        use_cpu=device() == "cpu",
        seed=settings.seed,
        shuffle_dataset=False,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        deepspeed=zero.config(settings.zero_stage, settings.bf16) if team.size > 1 else None,
    )
    on_one_device(told)
    return told
