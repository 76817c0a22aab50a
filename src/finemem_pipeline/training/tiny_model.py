"""A backbone of 0.4 million weights that knows one thing: to keep the facts of planted streams. Made here, from
nothing, in minutes on one core; so a second backbone, of another size and another history, is there without a download.

It imitates the scripted teacher, first on chunks of two sentences, where copying is learned quickest, then on longer
ones. Its streams have seeds of their own and the words of training streams, many of them replaced by made-up ones:
else it learns the words by heart, and half of those of test streams are new to it. Its chat template leaves out the
system turn: who can do one thing only needs no instructions.

    python -m finemem_pipeline.training.tiny_model data/06_models/base/tiny-llama
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        updates=400,
        batch=64,
    ),
    Lesson(PlantedSpec(train=2000, chunks=(1, 2), facts_per_chunk=1, distractors_per_chunk=2, seed=102), 130, 48),
    Lesson(PlantedSpec(train=2500, chunks=(1, 4), seed=103), 370, 32),
)
LEARNING_RATE = 3e-3
WARM_UP = 50  # updates
LONGEST_MEMORY = 512  # words

OTHER_NUMBERS, OTHER_NAMES, OTHER_WORDS = 0.8, 0.5, 0.2
"""Shares of the numbers, capitalised and other words of a demonstration that are replaced."""

_WORD = re.compile(r"\b(?:[A-Za-z]+|[0-9]+)\b")
_HEADINGS = {"Text", "Memory", "empty"}  # of the prompt
_STARTS = [*"bcdfghjklmnprstvwz", "br", "ch", "cr", "sh", "st", "tr"]
_VOWELS = [*"aeiou", "ai", "ei", "ou"]
_ENDS = ["", *"nrsltmk"]


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

    rng = random.Random(0)
    prompter = Prompter(BM25(), lambda text: len(text.split()), LONGEST_MEMORY)
    shown = [
        [
            disguised(each["prompt"][-1]["content"], each["completion"][0]["content"], rng)
            for each in demonstrations(list(generate(lesson.spec, "train")), Teacher(), prompter, sys.maxsize)
        ]
        for lesson in lessons
    ]
    texts = ["\n".join(each) for each in shown[-1]]
    random_model.draw(folder, texts, hidden=128, vocabulary=1000, chat_template=USER_ALONE, single_digits=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    _teach(model, lessons, [[_ids(tokenizer, *each) for each in some] for some in shown], rng)
    model.save_pretrained(folder)


def disguised(told: str, reply: str, rng: random.Random) -> tuple[str, str]:
    """The same demonstration with many of its words and most of its numbers replaced by others, in both texts alike."""
    other: dict[str, str] = {}
    for word in dict.fromkeys(_WORD.findall(told)):
        if word.isdigit() and rng.random() < OTHER_NUMBERS:
            other[word] = "".join(rng.choice("0123456789") for _ in word)
        elif word.istitle() and word not in _HEADINGS and rng.random() < OTHER_NAMES:
            other[word] = _word(rng).capitalize()
        elif word.islower() and word not in _HEADINGS and len(word) > 3 and rng.random() < OTHER_WORDS:
            other[word] = _word(rng)
    return _renamed(told, other), _renamed(reply, other)


def _renamed(text: str, other: Mapping[str, str]) -> str:
    return _WORD.sub(lambda found: other.get(found[0], found[0]), text)


def _word(rng: random.Random) -> str:
    """toceit, fol"""
    syllables = (rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 3)))
    return "".join(syllables) + rng.choice(_ENDS)


def _ids(tokenizer: Any, told: str, reply: str) -> Pair:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": told}], add_generation_prompt=True, tokenize=False
    )
    return tokenizer(prompt)["input_ids"], tokenizer(reply + tokenizer.eos_token)["input_ids"]


def _teach(model: Any, lessons: Sequence[Lesson], pairs: Sequence[Sequence[Pair]], rng: random.Random) -> None:
    """AdamW on the loss of the replies; the rate rises at first and then falls in a line over all lessons."""
    import torch

    total, done = sum(each.updates for each in lessons), 0
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
    parser = argparse.ArgumentParser(description="Makes the tiny second backbone, in minutes.")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder: Path = parser.parse_args().folder
    sys.stdout.write(f"{folder}: {'ready' if set_up(folder) else 'already there'}\n")


if __name__ == "__main__":
    main()
