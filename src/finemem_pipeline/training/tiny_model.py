"""A backbone of half a million weights that knows one thing: to keep the facts of planted streams. Made here, from
nothing, in minutes on one core; so a second backbone, of another size and another history, is there without a download.

It imitates the scripted teacher, first on chunks of two sentences, where copying is learned quickest, then on longer
ones. Its streams have seeds of their own and the words of training streams; a third of the words of test streams is
new to it. Its chat template leaves out the system turn: who can do one thing only needs no instructions.

    python -m finemem_pipeline.training.tiny_model data/06_models/base/tiny-llama
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.manager.policy import Prompter
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.reporting.bars import Bar
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.training import random_model

FOLDER = Path("data/06_models/base/tiny-llama")

USER_ALONE = (
    "{% for message in messages if message.role != 'system' %}<s>{{ message.role }}\n{{ message.content }}<e>"
    "{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)

Pair = tuple[list[int], list[int]]
"""Ids of a prompt and of the reply to it."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Streams to imitate the teacher on, and for how long."""

    spec: PlantedSpec
    updates: int
    batch: int  # demonstrations of an update


LESSONS = (
    Lesson(
        PlantedSpec(
            train=6000, chunks=1, facts_per_chunk=1, distractors_per_chunk=1, corrections=0.0, two_step=0.0, seed=101
        ),
        updates=600,
        batch=64,
    ),
    Lesson(PlantedSpec(train=2000, chunks=(1, 2), facts_per_chunk=1, distractors_per_chunk=2, seed=102), 150, 48),
    Lesson(PlantedSpec(train=2500, chunks=(1, 4), seed=103), 500, 32),
)
LEARNING_RATE = 3e-3
WARM_UP = 50  # updates
LONGEST_MEMORY = 512  # words


def set_up(folder: Path, lessons: Sequence[Lesson] = LESSONS) -> bool:
    """Puts the model into `folder`; False if it was there already."""
    if (folder / "config.json").is_file():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tiny-model-") as name:
        made = Path(name) / folder.name
        _make(made, lessons)
        if folder.exists():
            shutil.rmtree(folder)  # the remains of something else: it has no config.json
        os.replace(made, folder)
    return True


def _make(folder: Path, lessons: Sequence[Lesson]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finemem_pipeline.training.warm_start import demonstrations

    prompter = Prompter(BM25(), lambda text: len(text.split()), LONGEST_MEMORY)
    shown = [demonstrations(list(generate(each.spec, "train")), Teacher(), prompter, sys.maxsize) for each in lessons]
    words = [f"{each['prompt'][-1]['content']}\n{each['completion'][0]['content']}" for each in islice(shown[-1], 3000)]
    random_model.draw(folder, words, hidden=128, vocabulary=1000, chat_template=USER_ALONE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    _teach(model, lessons, [[_pair(tokenizer, each) for each in some] for some in shown])
    model.save_pretrained(folder)


def _pair(tokenizer: Any, shown: dict[str, Any]) -> Pair:
    prompt = tokenizer.apply_chat_template(shown["prompt"], add_generation_prompt=True, tokenize=False)
    reply = shown["completion"][0]["content"] + tokenizer.eos_token
    return tokenizer(prompt)["input_ids"], tokenizer(reply)["input_ids"]


def _teach(model: Any, lessons: Sequence[Lesson], pairs: Sequence[Sequence[Pair]]) -> None:
    """AdamW on the loss of the replies; the rate rises at first and then falls in a line over all lessons."""
    import torch

    rng, total, done = random.Random(0), sum(each.updates for each in lessons), 0
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98))
    with Bar("teaching the tiny model", total) as bar:
        for lesson, known in zip(lessons, pairs, strict=True):
            for _ in range(lesson.updates):
                for group in optimizer.param_groups:
                    group["lr"] = LEARNING_RATE * min((done + 1) / WARM_UP, 1 - done / total)
                optimizer.zero_grad()
                _loss(model, rng.sample(known, min(lesson.batch, len(known)))).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                done += 1
                bar.at(done)


def _loss(model: Any, batch: Sequence[Pair]) -> Any:
    """The mean over all tokens of the replies."""
    import torch

    longest = max(len(prompt) + len(reply) for prompt, reply in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), longest), -100)  # what is not learned
    for row, (prompt, reply) in enumerate(batch):
        end = len(prompt) + len(reply)
        ids[row, :end] = torch.tensor(prompt + reply)
        labels[row, len(prompt) : end] = torch.tensor(reply)
    # Padding stands behind what is read, and nothing looks ahead: no mask is needed.
    return model(input_ids=ids, labels=labels).loss


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    sys.stdout.write(f"{folder}: {'ready' if set_up(folder) else 'already there'}\n")


if __name__ == "__main__":
    main()
