"""What a training update costs, beside the usual ways of making one.

    python benchmarks/training_speed.py [--part system] [--part model] [--updates 4]

Both sides of a part take turns in one run, on the same streams, the same questions and from the same seed.

    model     The small default model, and a plain TRL loop: GRPOTrainer as it comes, whose rollout generates one
              step of one episode at a time with the policy under training; rows in micro-batches of the same size.
              Ours is the training of `kedro run`. Both are read by the extractive reasoner. Aim: 1.5 times the speed.
    system    All that surrounds a model. A scripted policy takes 1 s for a wave of replies and 5 s for a backward
              pass (about a 4B model on one large GPU), a scripted endpoint 1 s for an answer, 16 at the same time. One
              stream of T = 20 chunks, G = 8 siblings, K = 5 questions about a chunk and N = 20 at the end. The usual
              way is the layout of the public recipe: waves over the siblings, an index built anew for every search, no
              cache of answers, and reading when all is written. Aim: twice the speed. The same again with the
              extractive reasoner in place of the endpoint, told and not judged.

The scripted policy keeps each fact of a chunk with a probability that grows with the updates, and words it in a way of
its own now and then: how far the siblings' memories have grown apart is told beside how many questions the cache
answered. The last lines say whether the aims were met; exits with 1 if a side of ours is slower than the usual way.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from credit_time import Rebuilt
from rich.console import Console
from rich.table import Table
from step_time import parameters

from finemem_pipeline import wiring
from finemem_pipeline.benchmarks import planted
from finemem_pipeline.config import Parameters
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import FinememError
from finemem_pipeline.generation import Conversation, Sampling
from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.play import play
from finemem_pipeline.preflight import model_is_there
from finemem_pipeline.questions import ClozeWriter, write_questions
from finemem_pipeline.reasoning import Asked, Reasoner, Reply
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25, Retriever
from finemem_pipeline.rewards import Variant, score_group
from finemem_pipeline.rollouts import Completion, RolloutGroup

STEPS, SIBLINGS, CHUNK_QUESTIONS, QUESTIONS = 20, 8, 5, 20
WAVE, BACKWARD, ANSWER, AT_ONCE = 1.0, 5.0, 1.0, 16  # seconds, and answers at the same time
KEPT_AT_FIRST, OWN_WORDS = 0.4, 0.25
AIMS = {"model": 1.5, "system": 2.0}


@dataclass(frozen=True)
class Update:
    """What one update took. Seconds of writing, of waiting for the reader, and of learning."""

    write: float
    read: float
    learn: float
    tokens: int = 0  # written
    questions: int = 0
    calls: int = 0
    alike: tuple[float, ...] = ()  # per chunk: share of the memory that two siblings have in common
    saved: tuple[float, ...] = ()  # per chunk: share of its questions that needed no call

    @property
    def seconds(self) -> float:
        return self.write + self.read + self.learn


class ScriptedPolicy:
    """Takes WAVE seconds for a wave. Keeps sentences of the chunk, more of them with every update."""

    def __init__(self) -> None:
        self.update = 1
        self._draw = random.Random(0)
        self.seconds = 0.0

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        time.sleep(WAVE)
        self.seconds += WAVE
        return [Turn(Completion(self._say(each.chunk.text)), None) for each in observations]

    def _say(self, text: str) -> str:
        share = 1.0 - (1.0 - KEPT_AT_FIRST) / self.update
        facts = [fact.strip() for fact in text.split(".") if fact.strip()]
        kept = [self._worded(fact) for fact in facts if self._draw.random() < share]
        return json.dumps([{"op": "INSERT", "content": f"{fact}."} for fact in kept] or [{"op": "SKIP"}])

    def _worded(self, fact: str) -> str:
        return f"Note {self._draw.randrange(1000)}: {fact}" if self._draw.random() < OWN_WORDS else fact


class ScriptedEndpoint:
    """Takes ANSWER seconds for an answer, AT_ONCE at the same time, and says what the extractive reasoner says."""

    def __init__(self) -> None:
        self._says = ExtractiveReasoner()
        self._served = ThreadPoolExecutor(AT_ONCE)

    @property
    def identity(self) -> str:
        return self._says.identity

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        list(self._served.map(lambda _: time.sleep(ANSWER), asked))
        return self._says.answer(asked)


def long_stream() -> Episode:
    """T chunks with K questions each, and N at the end."""
    spec = planted.PlantedSpec(train=1, chunks=STEPS, facts_per_chunk=CHUNK_QUESTIONS, questions=QUESTIONS, seed=0)
    asked, _ = write_questions(
        list(planted.generate(spec, "train")), ClozeWriter(), ExtractiveReasoner(), CHUNK_QUESTIONS
    )
    return asked[0]


def words(text: str) -> int:
    return len(text.split())


def our_update(
    episode: Episode, policy: ScriptedPolicy, reader: Reader, variant: Variant, known: set[tuple[str, ...]]
) -> Update:
    """As `kedro run` plays it, with a stated backward pass. `known` is what was asked in earlier updates."""
    before = reader.usage
    policy.seconds, begin = 0.0, time.perf_counter()
    [group] = play([episode], policy, reader, words, siblings=SIBLINGS)
    score_group(group, variant)
    played = time.perf_counter() - begin
    time.sleep(BACKWARD)
    usage = reader.usage.since(before)
    return Update(
        policy.seconds,
        played - policy.seconds,
        BACKWARD,
        questions=usage.questions,
        calls=usage.calls,
        alike=tuple(alike(group, t) for t in range(STEPS)),
        saved=tuple(saved(group, t, known) for t in range(STEPS)),
    )


def usual_update(
    episode: Episode, policy: ScriptedPolicy, retriever: Retriever, reasoner: Reasoner, variant: Variant
) -> Update:
    """As in the public recipe: waves over the siblings; when all is written, every question is searched and asked."""
    policy.seconds, begin = 0.0, time.perf_counter()
    reader = Reader(retriever, ExtractiveReasoner())
    [group] = play([episode], policy, reader, words, siblings=SIBLINGS, questions=lambda _: (), ask_chunks=False)
    pairs = [
        (question, step.bank)
        for rollout in group.rollouts
        for step, chunk in zip(rollout.steps, episode.chunks, strict=True)
        for question in (*chunk.questions, *(episode.questions if step is rollout.steps[-1] else ()))
    ]
    found = [reader.retrieve([pair])[0] for pair in pairs]
    parts = [(question, items) for (question, _), items in zip(pairs, found, strict=True)]
    reasoner.answer([Asked(question.text, tuple(item.text for item, _ in items)) for question, items in parts])
    answers = iter(reader.read(parts))  # scores what was answered; takes milliseconds
    rollouts = []
    for rollout in group.rollouts:
        steps = tuple(
            replace(step, answers=tuple(next(answers) for _ in chunk.questions))
            for step, chunk in zip(rollout.steps, episode.chunks, strict=True)
        )
        rollouts.append(replace(rollout, steps=steps, answers=tuple(next(answers) for _ in episode.questions)))
    score_group(RolloutGroup(group.episode_id, tuple(rollouts)), variant)
    played = time.perf_counter() - begin
    time.sleep(BACKWARD)
    return Update(policy.seconds, played - policy.seconds, BACKWARD, questions=len(pairs), calls=len(pairs))


def saved(group: RolloutGroup, t: int, known: set[tuple[str, ...]]) -> float:
    """Share of the questions about chunk t that had been asked about the same texts before, or by a sibling."""
    answers = [answer for rollout in group.rollouts for answer in rollout.steps[t].answers]
    asked = {(each.question_id, *(item.text for item in each.evidence)) for each in answers}
    fresh = asked - known
    known |= fresh
    return 1 - len(fresh) / len(answers)


def alike(group: RolloutGroup, t: int) -> float:
    """Share of the items that the memories of two siblings have in common after chunk t, mean over pairs."""
    held = [{item.text for item in rollout.steps[t].bank.items} for rollout in group.rollouts]
    return fmean(len(one & other) / len(one | other) if one | other else 1.0 for one, other in combinations(held, 2))


def system(updates: int, variant: Variant, endpoint: bool) -> tuple[list[Update], list[Update]]:
    """Updates of ours and of the usual way, by turns."""
    episode = long_stream()
    reasoner: Reasoner = ScriptedEndpoint() if endpoint else ExtractiveReasoner()
    reader = Reader(BM25(), reasoner, cache=AnswerCache())
    known: set[tuple[str, ...]] = set()
    mine, theirs = ScriptedPolicy(), ScriptedPolicy()
    sides: tuple[list[Update], list[Update]] = ([], [])
    for update in range(1, updates + 1):
        mine.update = theirs.update = update
        sides[0].append(our_update(episode, mine, reader, variant, known))
        sides[1].append(usual_update(episode, theirs, Rebuilt(), reasoner, variant))
    return sides


def model(updates: int, shipped: Parameters, scratch: Path) -> tuple[list[Update], list[Update]]:
    """Updates of ours and of a plain TRL loop, by turns of `updates`, from the same short warm start."""
    from finemem_pipeline.pipelines.train import jobs

    training = shipped.training.model_copy(
        update={
            "folder": scratch,
            "steps": updates,
            "warm_start": shipped.training.warm_start.model_copy(update={"steps": 4, "imitation_steps": 0}),
        }
    )
    recipe = shipped.recipes.recipe(training.recipe)
    spec = planted.PlantedSpec(**{**shipped.data.planted.model_dump(), "train": 32, "dev": 1, "test": 1})
    episodes, _ = write_questions(list(planted.generate(spec, "train")), ClozeWriter(), ExtractiveReasoner())
    reader = shipped.reader.model_copy(update={"cache": scratch / "answers.sqlite"})
    warm = jobs.warm_start(episodes, episodes[:1], training, recipe, reader)
    variant = shipped.rewards.variant(training.reward)
    sides: tuple[list[Update], list[Update]] = ([], [])
    for turn in range(2):
        seeded = training.model_copy(update={"seed": turn, "folder": scratch / str(turn)})
        fresh = reader.model_copy(update={"cache": scratch / f"answers-{turn}.sqlite"})
        sides[0].extend(trained(jobs.train_policy(episodes, warm, seeded, recipe, variant, fresh)))
        sides[1].extend(plain(episodes, Path(warm["warm"]), seeded, recipe, variant, scratch / f"plain-{turn}"))
    return sides


def trained(summary: dict[str, Any]) -> list[Update]:
    """The updates of a training run, from its metrics."""
    from finemem_pipeline.training.runs import Run

    rows = Run(Path(summary["folder"])).metrics()
    return [
        Update(
            row["seconds/generate"],
            row["seconds/step"] - row["seconds/generate"] - row["seconds/backward"],
            row["seconds/backward"],
            tokens=round(row["tokens_per_second"] * row["seconds/step"]),
        )
        for row in rows
    ]


def plain(
    episodes: Sequence[Episode], start: Path, training: Any, recipe: Any, variant: Variant, scratch: Path
) -> list[Update]:
    """TRL's GRPOTrainer as it comes; its rollout generates one step of one episode at a time."""
    from transformers import TrainerCallback, set_seed
    from trl import GRPOTrainer

    from finemem_pipeline.clock import Clock
    from finemem_pipeline.manager.policy import PolicyManager
    from finemem_pipeline.pipelines.train.jobs import constants, lora
    from finemem_pipeline.training.policy import TEMPLATE_ARGUMENTS, load_tokenizer, load_trainable
    from finemem_pipeline.training.samples import step_samples
    from finemem_pipeline.training.schedule import episode_order, longest, question_subset
    from finemem_pipeline.training.step_grpo import Layout, schedule_dataset
    from finemem_pipeline.training.train import arguments

    set_seed(training.seed)
    settings = constants(training, recipe)
    tokenizer = load_tokenizer(recipe.model)
    reader = Reader(BM25(), ExtractiveReasoner(), cache=AnswerCache())
    count_tokens = wiring.count_tokens(recipe.model)
    layout = Layout(settings.episodes_per_step, longest(episodes), settings.group_size)
    clock, updates, ends = Clock(), list[Update](), [time.perf_counter()]

    class UnderTraining:
        """The policy, asked through TRL."""

        name = "under training"

        def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
            prompts = [
                tokenizer.apply_chat_template(
                    list(each), add_generation_prompt=True, tokenize=True, return_dict=False, **TEMPLATE_ARGUMENTS
                )
                for each in conversations
            ]
            completions, _ = trainer._generate_single_turn(prompts, None, {}, 1)
            return [
                Completion(tokenizer.decode(ids, skip_special_tokens=True), tuple(prompt), tuple(ids))
                for prompt, ids in zip(prompts, completions, strict=True)
            ]

    def roll_out(prompts: list[str], _: GRPOTrainer) -> dict[str, list[Any]]:
        keys = [json.loads(prompt) for prompt in prompts]
        update = trainer.state.global_step + 1
        draw = question_subset(settings.question_share, settings.question_floor, settings.seed, update)
        groups = [
            play(
                [episodes[e]], manager, reader, count_tokens, siblings=settings.group_size, questions=draw, clock=clock
            )[0]
            for e, t in keys[:: layout.repeats]
            if t == 0
        ]
        scores = [score_group(group, variant) for group in groups]
        rows = step_samples(groups, [score.advantages for score in scores], layout.steps, tokenizer.eos_token_id)
        tokens.append(sum(len(row.completion_ids) for row in rows))
        return {
            "prompt_ids": [list(row.prompt_ids) for row in rows],
            "completion_ids": [list(row.completion_ids) for row in rows],
            "logprobs": None,  # type: ignore[dict-item]
            "env_mask": [[0 if row.filler else 1] * len(row.completion_ids) for row in rows],
            "worth": [row.advantage for row in rows],
        }

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())
            spent = clock.reset()
            write, played = spent["generate"], sum(spent.values())
            updates.append(Update(write, played - write, ends[-1] - ends[-2] - played, tokens=tokens[-1]))

    tokens: list[int] = []
    sampling = Sampling(max_tokens=recipe.max_completion_tokens, temperature=recipe.temperature)
    config = wiring.prompter(recipe, parameters(Path(__file__).resolve().parents[1]).reader)
    manager = PolicyManager(UnderTraining(), config, sampling)
    order = episode_order(len(episodes), settings.steps * settings.episodes_per_step, settings.seed)
    trainer = GRPOTrainer(
        model=load_trainable(recipe.model, start, lora(recipe)),
        args=arguments(settings, layout, scratch),
        processing_class=tokenizer,
        train_dataset=schedule_dataset(order, layout),
        rollout_func=roll_out,
        reward_funcs=lambda worth, **_: worth,
        callbacks=[Watch()],
    )
    ends[0] = time.perf_counter()
    trainer.train()
    return updates


def told(name: str, ours_: Sequence[Update], theirs: Sequence[Update]) -> tuple[Table, float]:
    """Mean seconds of both sides by phase, and how many times faster ours is."""
    table = Table(title=f"{name}: one update, mean of {len(ours_)} on each side")
    for column in ("", "write", "read, not overlapped", "learn", "update", "tokens/s", "questions", "calls"):
        table.add_column(column, justify="left" if not column else "right")
    for side, rows in (("ours", ours_), ("usual way", theirs)):
        seconds = fmean(row.seconds for row in rows)
        table.add_row(
            side,
            *(f"{fmean(getattr(row, phase) for row in rows):.2f} s" for phase in ("write", "read", "learn")),
            f"{seconds:.2f} s",
            f"{fmean(row.tokens for row in rows) / seconds:.1f}" if any(row.tokens for row in rows) else "–",
            *(f"{fmean(getattr(row, what) for row in rows):.0f}" for what in ("questions", "calls")),
        )
    return table, fmean(row.seconds for row in theirs) / fmean(row.seconds for row in ours_)


def hits(rows: Sequence[Update]) -> Table:
    """Share of the questions that needed no call, by update and by how alike the siblings' memories are."""
    table = Table(title="questions about chunks that needed no call")
    table.add_column("update", justify="right")
    edges = (0.0, 0.25, 0.5, 0.75, 1.0)
    for low, high in pairwise(edges):
        table.add_column(f"{low:.2f}–{high:.2f} alike", justify="right")
    table.add_column("all", justify="right")
    for update, row in enumerate(rows, start=1):
        pairs = list(zip(row.alike, row.saved, strict=True))
        cells = []
        for low, high in pairwise(edges):
            found = [saved for one, saved in pairs if low <= one < high or one == high == 1.0]
            cells.append(f"{fmean(found):.0%} ({len(found)})" if found else "–")
        table.add_row(str(update), *cells, f"{fmean(row.saved):.0%}")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description="What a training update costs, beside the usual ways.")
    parser.add_argument("--part", action="append", choices=list(AIMS), help="of the two parts; both if left out")
    parser.add_argument(
        "--updates",
        type=int,
        default=6,
        help="of each side with the endpoint; a third of it without, and in each of two turns with the model",
    )
    options = parser.parse_args()
    shipped = parameters(Path(__file__).resolve().parents[1])
    variant = shipped.rewards.variant(shipped.training.reward)
    console = Console(width=120)
    factors: dict[str, float] = {}
    third = max(1, options.updates // 3)
    for part in options.part or AIMS:
        if part == "system":
            for endpoint in (True, False):
                sides = system(options.updates if endpoint else third, variant, endpoint)
                table, factor = told("a scripted endpoint" if endpoint else "the extractive reasoner", *sides)
                console.print(table)
                if endpoint:
                    console.print(hits(sides[0]))
                    factors[part] = factor
                else:
                    console.print(f"{factor:.2f} times the speed, not judged")
            continue
        recipe = shipped.training.recipe
        try:
            model_is_there(shipped.recipes.recipe(recipe).model, f"recipes.{recipe}.model")
        except FinememError as error:
            console.print(f"Error: {error}", style="red")
            return 1
        with tempfile.TemporaryDirectory() as folder:
            sides = model(third, shipped, Path(folder))
        table, factors[part] = told(recipe, *sides)
        console.print(table)
    for part, factor in factors.items():
        console.print(f"{part}: {factor:.2f} times the speed, aim {AIMS[part]}: {verdict(factor, AIMS[part])}")
    return 0 if all(factor >= 1 for factor in factors.values()) else 1


def verdict(factor: float, aim: float) -> str:
    return "met" if factor >= aim else "missed" if factor >= 1 else "slower"


if __name__ == "__main__":
    sys.exit(main())
