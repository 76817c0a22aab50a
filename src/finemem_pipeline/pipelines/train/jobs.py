"""The two jobs of the train pipeline, from config to weights on disk. Importing this brings torch and trl."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import set_seed

from finemem_pipeline import wiring
from finemem_pipeline.clock import Clock
from finemem_pipeline.config import ReaderConfig, Recipe, TrainingConfig
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import FinememError
from finemem_pipeline.generation import Sampling
from finemem_pipeline.manager.policy import PolicyManager, Prompter
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.metrics import JUDGE
from finemem_pipeline.reasoning.probes import Sample
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reporting.bars import Bar
from finemem_pipeline.reporting.live import Board
from finemem_pipeline.rewards import OF_CHUNKS, Variant
from finemem_pipeline.training import fingerprint
from finemem_pipeline.training.hardware import trains_in_bf16
from finemem_pipeline.training.policy import PlayingCopy, load_tokenizer, load_trainable
from finemem_pipeline.training.runs import Run, weights_at
from finemem_pipeline.training.schedule import by_turns
from finemem_pipeline.training.together import Team, team
from finemem_pipeline.training.train import Practice, Settings, result_name, retell, train
from finemem_pipeline.training.warm_start import IMITATION, WARM, WarmStart, demonstrations, imitate

HELD_OUT_DEMONSTRATIONS = 24

# What may change between a run and its continuation.
NOT_PART_OF_A_RUN = {
    *("steps", "checkpoint_every", "keep_checkpoints", "resume"),
    *("folder", "recipe", "reward", "warm_start", "processes", "zero_stage"),
}
SPEED_ONLY = {"micro_batch", "gradient_checkpointing"}
ONLY_FOR_REINFORCEMENT = {"learning_rate", "warmup_steps", "max_grad_norm", "temperature"}

log = logging.getLogger(__name__)


def warm_start(
    episodes: Sequence[Episode],
    held_out: Sequence[Episode],
    training: TrainingConfig,
    recipe: Recipe,
    reader: ReaderConfig,
) -> dict[str, Any]:
    """Imitates the teacher, or finds the weights of an earlier run of the same configuration."""
    _somebody_scores(episodes, reader)  # known before an hour of imitation, not after it
    constants = training.warm_start
    config = {
        "episodes": fingerprint.streams(episodes),
        "held_out": fingerprint.streams(held_out),
        "recipe": recipe.model_dump(mode="json", exclude=SPEED_ONLY | ONLY_FOR_REINFORCEMENT),
        "retriever": reader.retriever.model_dump(mode="json"),
        "warm_start": constants.model_dump(mode="json"),
        "seed": training.seed,
        **_made_with(recipe),
    }
    run = Run.open(training.folder, "warm_start", config, fresh=training.resume == "never")
    converge = constants.imitation_steps > constants.steps
    expected = IMITATION if converge else WARM
    if run.has(expected) and run.has(WARM):
        log.info("%s: imitated already with the same configuration and data, reused", run.result(expected))
    else:
        tokenizer = load_tokenizer(recipe.model)
        prompter = wiring.prompter(recipe, reader)
        counted = wiring.count_tokens(recipe.model)
        teacher = Teacher(fits=lambda reply: counted(reply) < recipe.max_completion_tokens)  # and the end token
        rows = max(constants.steps, constants.imitation_steps) * constants.batch
        shown = demonstrations(by_turns(episodes, training.seed), teacher, prompter, rows)
        checked = demonstrations(by_turns(held_out, training.seed), teacher, prompter, HELD_OUT_DEMONSTRATIONS)
        if not shown or (converge and not checked):
            raise FinememError("the warm start needs training and dev streams to take demonstrations from")
        set_seed(training.seed)  # a fresh adapter is drawn at random
        model = load_trainable(recipe.model, None, lora(recipe))
        with run.alone(), Bar("imitating the teacher", rows // constants.batch) as bar:
            imitate(
                model,
                tokenizer,
                shown,
                checked,
                WarmStart(
                    steps=constants.steps,
                    batch=constants.batch,
                    micro_batch=recipe.micro_batch,
                    imitation_steps=constants.imitation_steps,
                    patience=constants.patience,
                    check_every=constants.check_every,
                    learning_rate=recipe.warm_start_learning_rate,
                    bf16=trains_in_bf16(recipe.precision),
                    gradient_checkpointing=recipe.gradient_checkpointing,
                    seed=training.seed,
                    checkpoint_every=training.checkpoint_every,
                    keep_checkpoints=training.keep_checkpoints,
                ),
                run,
                lambda step, _: bar.at(step),
            )
    gc.collect()  # trainers hold on to themselves in circles, and with them to the model and its optimiser
    return {
        "recipe": training.recipe,
        "model": recipe.model,
        WARM: str(run.result(WARM)),
        IMITATION: str(run.result(IMITATION)) if converge else None,
    }


def train_policy(
    episodes: Sequence[Episode],
    warm: dict[str, Any],
    training: TrainingConfig,
    recipe: Recipe,
    variant: Variant,
    reader_config: ReaderConfig,
) -> dict[str, Any]:
    """Trains one variant, from where the same configuration stopped if it did."""
    _somebody_scores(episodes, reader_config)
    paid_by_chunk = any(term.weight for name, term in variant.terms.items() if name in OF_CHUNKS)
    if paid_by_chunk and not any(c.questions for e in episodes for c in e.chunks):
        raise FinememError(
            f"rewards.{variant.name} pays for chunk questions, and no chunk of the training streams has any. "
            "Raise questions.per_chunk and run kedro run --pipelines=qa_generation, or choose another training.reward."
        )
    processes = team()
    clock = Clock()
    reader = wiring.reader(_cached_on(processes.node, reader_config), clock)
    config = {
        "episodes": fingerprint.streams(episodes),
        "warm_start": Path(warm[WARM]).parent.name,
        "recipe": recipe.model_dump(mode="json", exclude=SPEED_ONLY | {"warm_start_learning_rate"}),
        "training": training.model_dump(mode="json", exclude=NOT_PART_OF_A_RUN),
        "variant": wiring.plain(variant),
        "reader": wiring.reader_identity(reader_config, reader),
        **_made_with(recipe),
    }
    if processes.size > 1:  # sums are added up in another order, and a checkpoint is cut into so many parts
        config["together"] = {"processes": processes.size, "zero_stage": training.zero_stage}
    run = processes.from_first(
        lambda: Run.open(training.folder, training.reward, config, fresh=training.resume == "never")
    )
    _seen_by_all(run, processes)
    done = run.result(result_name(training.steps))
    if processes.from_first(lambda: run.has(done.name)):
        log.info("%s: trained already with the same configuration and data, reused", done)
        if processes.first:
            retell(run, training.steps)
    else:
        manager_prompter = wiring.prompter(recipe, reader_config, clock)
        start = processes.from_first(lambda: weights_at(Path(warm[WARM])))
        _train(episodes, start, training, recipe, variant, reader, manager_prompter, clock, run, processes)
    return {
        "variant": training.reward,
        "recipe": training.recipe,
        "recipe_settings": recipe.model_dump(mode="json"),
        "warm_start": warm[WARM],
        "model": recipe.model,
        "seed": training.seed,
        "steps": training.steps,
        "folder": str(run.folder),
        "adapter": str(done),
        "metrics_file": str(run.metrics_file),
        "rollouts_folder": str(run.rollouts_folder),
    }


def _train(
    episodes: Sequence[Episode],
    start: Path,
    training: TrainingConfig,
    recipe: Recipe,
    variant: Variant,
    reader: Reader,
    prompter: Prompter,
    clock: Clock,
    run: Run,
    processes: Team,
) -> None:
    settings = constants(training, recipe)
    tokenizer = load_tokenizer(recipe.model)
    model = load_trainable(recipe.model, start, lora(recipe))
    twin = PlayingCopy(recipe.model, recipe.precision)
    manager = PolicyManager(
        twin,
        prompter,
        Sampling(max_tokens=recipe.max_completion_tokens, temperature=recipe.temperature),
    )
    with ExitStack() as meanwhile:  # the first process takes the folder for all, and shows how far they are
        processes.from_first(lambda: meanwhile.enter_context(run.alone()))
        board = meanwhile.enter_context(
            Board(f"training with {training.reward}", training.steps, shown=processes.first)
        )
        practice = Practice(
            episodes,
            manager,
            reader,
            wiring.count_tokens(recipe.model),
            variant,
            settings,
            clock,
            filler_id=int(tokenizer.eos_token_id),
            rollouts_folder=run.rollouts_folder,
            on_phase=lambda update, now: board.at(update - 1, now),
            team=processes,
        )
        train(model, tokenizer, practice, settings, run, twin.sync, processes)


def _cached_on(node: int, reader: ReaderConfig) -> ReaderConfig:
    """Machines have answer caches of their own: sqlite does not trust the locks of a shared file system."""
    if reader.cache is None or node == 0:
        return reader
    return reader.model_copy(update={"cache": reader.cache.with_name(f"node-{node}-{reader.cache.name}")})


def _seen_by_all(run: Run, processes: Team) -> None:
    """Raises FinememError where a process cannot see the folder that the first one writes."""
    blind = [each for each in processes.apart(lambda: None if run.folder.is_dir() else socket.gethostname()) if each]
    if blind:
        raise FinememError(
            f"training.folder: {run.folder} is not there on {', '.join(sorted(set(blind)))}. All machines that train "
            "together need the same folder, on a file system that they share."
        )


def constants(training: TrainingConfig, recipe: Recipe) -> Settings:
    """The constants of a training run, from both of the sections that set them."""
    return Settings(
        steps=training.steps,
        group_size=training.group_size,
        episodes_per_step=training.episodes_per_step,
        seed=training.seed,
        question_share=training.question_share,
        question_floor=training.question_floor,
        retention=Sample(training.retention_questions, training.seed),
        epsilon=training.epsilon,
        kl=training.kl,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_steps,
        max_grad_norm=recipe.max_grad_norm,
        micro_batch=recipe.micro_batch,
        max_completion_tokens=recipe.max_completion_tokens,
        temperature=recipe.temperature,
        gradient_checkpointing=recipe.gradient_checkpointing,
        bf16=trains_in_bf16(recipe.precision),
        checkpoint_every=training.checkpoint_every,
        keep_checkpoints=training.keep_checkpoints,
        zero_stage=training.zero_stage,
    )


def _somebody_scores(episodes: Sequence[Episode], reader: ReaderConfig) -> None:
    """Left unscored, questions for a judge would teach nothing, and nobody would be told."""
    judged = sorted({e.source for e in episodes if any(question.metric == JUDGE for question in e.questions)})
    if judged and reader.judge is None:
        raise FinememError(
            f"reader.judge: found none, but training streams of {', '.join(judged)} have questions that only a "
            "language model can score. Name one in reader.judge, or leave these sources out with data.sources."
        )


def _made_with(recipe: Recipe) -> dict[str, Any]:
    return {
        "code": fingerprint.code(),
        "libraries": fingerprint.libraries(),
        "base_model": fingerprint.base_model(recipe.model),
    }


def lora(recipe: Recipe) -> dict[str, Any] | None:
    """The adapter's shape, or None to train all weights."""
    return recipe.lora.model_dump() if recipe.lora is not None else None
