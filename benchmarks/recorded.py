"""Rollouts to measure with: a planted stream, and siblings that keep passages of it, mostly but not always the same."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from finemem_pipeline.benchmarks import planted
from finemem_pipeline.episodes import Episode
from finemem_pipeline.memory import Delete, Insert, MemoryBank, Operation, Update, format_operations
from finemem_pipeline.rollouts import Completion, Rollout, RolloutGroup, StepRecord

SENTENCES = 3  # in a memory item: 25 words, as many as one sentence of an encyclopedia has
SPARE = 1.5  # passages of a chunk for each one that a sibling keeps
FACTS = 0.4  # share of the sentences, as in the streams that are planted by default
DEPARTS = 0.2  # share of the choices in which a sibling does not do what the others do


def stream(steps: int, items: int, chunk_questions: int, questions: int) -> Episode:
    """A planted stream of T steps from which a memory of that many items can be written.

    It asks `chunk_questions` after every chunk and `questions` after the last.
    """
    sentences = SENTENCES * math.ceil(SPARE * (items / steps + 3))
    facts = max(chunk_questions, min(round(FACTS * sentences), planted.CAPACITY // steps))
    spec = planted.PlantedSpec(
        train=1, chunks=steps, facts_per_chunk=facts, distractors_per_chunk=sentences - facts, questions=questions
    )
    episode = next(planted.generate(spec, "train"))
    chunks = (replace(chunk, questions=chunk.questions[:chunk_questions]) for chunk in episode.chunks)
    return replace(episode, chunks=tuple(chunks))


def siblings(episode: Episode, count: int, items: int) -> RolloutGroup:
    """`count` rollouts without answers, whose memories grow evenly to `items`, and apart from each other.

    Every step inserts passages of its chunk; where there are two items it deletes one and rewrites another.
    """
    return RolloutGroup(episode.id, tuple(_rollout(episode, sibling, items) for sibling in range(count)))


def _rollout(episode: Episode, sibling: int, items: int) -> Rollout:
    own = random.Random(f"{episode.id} {items} {sibling}")
    bank, steps = MemoryBank(), []
    for chunk in episode.chunks:
        common = random.Random(f"{episode.id} {items} {chunk.index}")
        lines = chunk.text.splitlines()
        passages = [" ".join(lines[begin : begin + SENTENCES]) for begin in range(0, len(lines), SENTENCES)]
        common.shuffle(passages)
        operations: list[Operation] = []
        if len(bank) > 1:
            gone, changed = (own if own.random() < DEPARTS else common).sample(range(len(bank)), 2)
            operations = [Delete(bank.items[gone].id), Update(bank.items[changed].id, passages.pop())]
        missing = round(items * (chunk.index + 1) / episode.steps) - len(bank) + bool(operations)
        for place in range(missing):
            if own.random() < DEPARTS:
                spare = own.randrange(missing, len(passages))
                passages[place], passages[spare] = passages[spare], passages[place]
        operations += map(Insert, passages[:missing])
        applied = []
        for operation in operations:
            bank, outcome = bank.apply(operation, chunk.index)
            applied.append(outcome)
        steps.append(
            StepRecord(
                step=chunk.index,
                completion=Completion(format_operations(operations)),
                operations=tuple(applied),
                malformed=(),
                bank=bank,
                bank_tokens=bank.tokens(_words),
                chunk_tokens=_words(chunk.text),
            )
        )
    return Rollout(episode.id, sibling, tuple(steps), (), sum(step.chunk_tokens for step in steps))


def _words(text: str) -> int:
    return len(text.split())
