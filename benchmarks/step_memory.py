"""How much memory an update takes, by the tokens of its rows, and whether a long training needs more and more of it.

    python benchmarks/step_memory.py [--updates 200]

First the small default model with the adapter of its recipe: rows of so many prompt and completion tokens are played
by the playing copy, then learned, two rows to a pass; the table has the peak of each above what was held before. The
recipe's `micro_batch` is the number of rows in a pass; more passes to an update take no more, which the last line of
the table shows. Then a tiny model of random weights trains for 200 updates on planted streams, with reader, caches,
rollouts and checkpoints as in any run; what the process holds is told on the way. On a GPU it is the GPU's memory,
else that of the process, freed memory handed back before each look. Exits with 1 if the last updates hold more than
5 % more than those after the first quarter.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from finemem_pipeline.generation import Conversation, Sampling
    from finemem_pipeline.rollouts import Completion
    from finemem_pipeline.training.train import Settings

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "smollm2_135m"
PROMPTS, COMPLETIONS = (128, 256, 512), (32, 64, 128)  # tokens
ROWS = 2  # to a pass
UPDATES, LOOK_EVERY = 200, 10
ALLOWED = 1.05
MIB = 2**20


def held() -> int:
    """Bytes that are in use now."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return _status("VmRSS")


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that were held at most while it was done, above those that were held before."""
    import torch

    before = held()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the mark of the most that was held
    work()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(kilobytes)


def settings(**changes: Any) -> Settings:
    """One update of one stream of one chunk, unless changed."""
    from finemem_pipeline.reasoning.probes import Sample
    from finemem_pipeline.training.train import Settings

    plain = Settings(
        steps=1,
        group_size=ROWS,
        episodes_per_step=1,
        seed=0,
        question_share=0.2,
        question_floor=4,
        retention=Sample(0),
        epsilon=0.2,
        kl=0.0,
        learning_rate=1e-4,
        warmup_steps=0,
        max_grad_norm=1.0,
        micro_batch=ROWS,
        max_completion_tokens=160,
        temperature=1.0,
        gradient_checkpointing=False,
        bf16=False,
        checkpoint_every=50,
        keep_checkpoints=2,
    )
    return replace(plain, **changes)


class Bench:
    """The model of the recipe, its adapter and its playing copy."""

    def __init__(self, recipe: dict[str, Any]) -> None:
        from finemem_pipeline.training.hardware import trains_in_bf16
        from finemem_pipeline.training.policy import PlayingCopy, load_tokenizer, load_trainable

        precision = recipe.get("precision", "auto")
        self.bf16 = trains_in_bf16(precision)
        self.tokenizer = load_tokenizer(recipe["model"])
        self.model = load_trainable(recipe["model"], None, {"layers": None, **recipe["lora"]})
        self.twin = PlayingCopy(recipe["model"], precision)

    def play(self, prompt: int, completion: int) -> None:
        """Generates for ROWS prompts of so many tokens."""
        import torch

        ids = torch.full((ROWS, prompt), 1000, device=self.twin.model.device)
        with torch.inference_mode():
            self.twin.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                min_new_tokens=completion,
                max_new_tokens=completion,
                pad_token_id=self.tokenizer.pad_token_id,
            )

    def learn(self, prompt: int, completion: int, passes: int = 1) -> None:
        """One update on so many times ROWS rows."""
        from transformers.trainer_callback import PrinterCallback

        from finemem_pipeline.training.samples import StepSample
        from finemem_pipeline.training.step_grpo import Layout, StepGRPOTrainer, schedule_dataset
        from finemem_pipeline.training.train import arguments

        rows = [
            StepSample((1000,) * prompt, (1001,) * completion, (), (-1.0) ** place, ("e", place, 0))
            for place in range(ROWS * passes)
        ]
        layout = Layout(1, 1, len(rows))
        constants = settings(group_size=len(rows), max_completion_tokens=completion, bf16=self.bf16)
        with tempfile.TemporaryDirectory() as scratch:
            trainer = StepGRPOTrainer(
                model=self.model,
                args=arguments(constants, layout, Path(scratch)),
                processing_class=self.tokenizer,
                train_dataset=schedule_dataset([0], layout),
                play_step=lambda update, episodes: rows,
                layout=layout,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()


class Scribe:
    """A Generator that lets a tiny policy draw its tokens, and has them mean an operation on the chunk."""

    name = "scribe"

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        found = []
        for conversation, said in zip(conversations, self.policy.generate(conversations, sampling), strict=True):
            lines = conversation[1]["content"].partition("\n")[2].partition("\n\nMemory:")[0].splitlines()
            meant = sum(said.completion_ids)
            line = lines[meant % len(lines)]
            found.append(replace(said, text=f'[{{"op": "INSERT", "content": "{line}"}}]' if meant % 5 else "[]"))
        return found


def train_long(updates: int, folder: Path, on_look: Callable[[int, int], None]) -> None:
    """Trains the tiny model; (update, bytes held) every few updates."""
    from finemem_pipeline import progress
    from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
    from finemem_pipeline.clock import Clock
    from finemem_pipeline.generation import Sampling as Decoding
    from finemem_pipeline.manager.policy import PolicyManager, Prompter
    from finemem_pipeline.questions import ClozeWriter, write_questions
    from finemem_pipeline.reasoning.cache import AnswerCache
    from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
    from finemem_pipeline.reasoning.reader import Reader
    from finemem_pipeline.retrieval import BM25
    from finemem_pipeline.rewards import variant
    from finemem_pipeline.training.policy import PlayingCopy, load_tokenizer, load_trainable
    from finemem_pipeline.training.random_model import build
    from finemem_pipeline.training.runs import Run
    from finemem_pipeline.training.train import Practice, train

    tiny = folder / "tiny"
    build(tiny)
    tokenizer = load_tokenizer(str(tiny))
    model = load_trainable(str(tiny), None, {"r": 4, "alpha": 8, "dropout": 0.0, "layers": None})
    twin = PlayingCopy(str(tiny), "fp32")
    run = Run.open(folder, "long", {})
    constants = settings(
        steps=updates, group_size=4, episodes_per_step=2, micro_batch=8, max_completion_tokens=8, learning_rate=1e-3
    )
    reasoner = ExtractiveReasoner()
    streams, _ = write_questions(list(generate(PlantedSpec(train=40, chunks=(1, 3)), "train")), ClozeWriter(), reasoner)

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    practice = Practice(
        streams,
        PolicyManager(Scribe(twin), Prompter(BM25(), count, 200), Decoding(8, 1.0)),
        Reader(BM25(), reasoner, cache=AnswerCache(folder / "answers.sqlite")),
        count,
        variant("fine_mem", _conf("rewards")["rewards"]["fine_mem"]),
        constants,
        Clock(),
        filler_id=tokenizer.eos_token_id,
        rollouts_folder=run.rollouts_folder,
        on_phase=lambda update, now: None,
    )

    def look(step: int, metrics: object) -> None:
        if step % LOOK_EVERY == 0:
            on_look(step, held())

    leave = progress.subscribe(look)
    try:
        train(model, tokenizer, practice, constants, run, twin.sync)
    finally:
        leave()


def _conf(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"conf/base/parameters_{name}.yml").read_text(encoding="utf-8"))
    return found


def growth(looks: Sequence[tuple[int, int]]) -> float:
    """Bytes held in the last quarter of the looks, as a multiple of those held in the second."""
    quarter = max(1, len(looks) // 4)
    sizes = [size for _, size in looks]
    return float(np.mean(sizes[-quarter:]) / np.mean(sizes[quarter : 2 * quarter]))


def per_token(peaks: Sequence[tuple[int, int, int]]) -> tuple[float, float]:
    """Bytes by which the peak grows with a prompt token and with a completion token of all rows of a pass: the plane
    that fits best through (prompt tokens, completion tokens, peak).
    """
    table = np.array(peaks, dtype=float)
    plane, *_ = np.linalg.lstsq(np.column_stack([table[:, :2], np.ones(len(table))]), table[:, 2], rcond=None)
    return float(plane[0]), float(plane[1])


def show_peaks(console: Console) -> None:
    """The first table, line by line as it is measured."""
    bench = Bench(_conf("recipes")["recipes"][RECIPE])
    bench.play(8, 2)
    bench.learn(8, 2)  # the first time libraries take memory that they keep
    peaks: list[tuple[int, int, int]] = []
    table = Table(title=f"{RECIPE}: MiB above what is held before, {ROWS} rows to a pass")
    for column in ("prompt tokens", "completion tokens", "play", "learn"):
        table.add_column(column, justify="right")
    for prompt in PROMPTS:
        for completion in COMPLETIONS:
            played = peak_of(lambda: bench.play(prompt, completion))  # noqa: B023
            learned = peak_of(lambda: bench.learn(prompt, completion))  # noqa: B023
            table.add_row(str(prompt), str(completion), f"{played / MIB:.0f}", f"{learned / MIB:.0f}")
            peaks.append((prompt, completion, learned))
    prompt, completion = PROMPTS[1], COMPLETIONS[1]
    table.add_row(
        str(prompt), f"{completion}, 4 passes", "", f"{peak_of(lambda: bench.learn(prompt, completion, 4)) / MIB:.0f}"
    )
    console.print(table)
    by_prompt, by_completion = (size / ROWS / MIB for size in per_token(peaks))
    console.print(f"learn: {by_prompt:.1f} MiB for a prompt token of a row, {by_completion:.1f} for a completion token")


def main() -> int:
    parser = argparse.ArgumentParser(description="How much memory an update takes, and whether it grows.")
    parser.add_argument("--updates", type=int, default=UPDATES, help="of the long training")
    updates = max(4 * LOOK_EVERY, parser.parse_args().updates)
    console = Console()
    show_peaks(console)
    looks: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory() as scratch:
        train_long(updates, Path(scratch), lambda step, size: looks.append((step, size)))
    console.print("held after update: " + ", ".join(f"{step}: {size / MIB:.1f}" for step, size in looks) + " MiB")
    found = growth(looks)
    console.print(
        f"{'OK' if found <= ALLOWED else 'MISSED'}: the last {updates // 4} of {updates} updates hold "
        f"{found - 1:+.1%} beside those after the first quarter, allowed {ALLOWED - 1:+.0%}"
    )
    return 0 if found <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
