"""Where the time of a training step goes, phase by phase, with the default recipe and the extractive reasoner.

    python benchmarks/step_time.py [--updates 4]

Trains a few updates in a scratch folder, throws the first away (it warms up caches) and prints the mean seconds of the
others. The verdict: everything but generating and learning takes less than 5 % of a step. Exits with 1 if it does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import fmean

import yaml
from rich.console import Console
from rich.table import Table

from finemem_pipeline.benchmarks import planted
from finemem_pipeline.config import Parameters, parse_parameters
from finemem_pipeline.errors import FinememError
from finemem_pipeline.preflight import model_is_there
from finemem_pipeline.questions import ClozeWriter, write_questions
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner

PHASES = {
    "generate": "generate",
    "apply": "parse and apply",
    "retrieve": "retrieve",
    "read": "read",
    "score": "score and credit",
    "write": "write rollouts",
    "measure": "measure how far it moves",
    "backward": "forward, backward, update",
}
HEAVY = ("generate", "backward")
ALLOWED = 0.05


def parameters(root: Path) -> Parameters:
    """The shipped parameters, without those of the machine at hand."""
    raw: dict[str, object] = {}
    for path in sorted((root / "conf" / "base").glob("parameters*.yml")):
        raw |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return parse_parameters(raw)


def measure(updates: int, shipped: Parameters, scratch: Path) -> list[dict[str, float]]:
    """The metric rows of a short run from a short warm start."""
    from finemem_pipeline.pipelines.train import jobs
    from finemem_pipeline.training.runs import Run

    training = shipped.training.model_copy(
        update={
            "folder": scratch,
            "steps": updates,
            "warm_start": shipped.training.warm_start.model_copy(update={"steps": 4, "imitation_steps": 0}),
        }
    )
    recipe = shipped.recipes.recipe(training.recipe)
    reader = shipped.reader.model_copy(update={"cache": scratch / "answers.sqlite"})
    spec = planted.PlantedSpec(**{**shipped.data.planted.model_dump(), "train": 32, "dev": 1, "test": 1})
    episodes, _ = write_questions(list(planted.generate(spec, "train")), ClozeWriter(), ExtractiveReasoner())
    warm = jobs.warm_start(episodes, episodes[:1], training, recipe, reader)
    summary = jobs.train_policy(episodes, warm, training, recipe, shipped.rewards.variant(training.reward), reader)
    return Run(Path(summary["folder"])).metrics()


def main() -> int:
    arguments = argparse.ArgumentParser(description="Where the time of a training step goes.")
    arguments.add_argument("--updates", type=int, default=4, help="updates to train, the first is not counted")
    updates = max(2, arguments.parse_args().updates)
    shipped = parameters(Path(__file__).resolve().parents[1])
    recipe = shipped.recipes.recipe(shipped.training.recipe)
    console = Console()
    try:
        model_is_there(recipe.model, f"recipes.{shipped.training.recipe}.model")
    except FinememError as error:
        console.print(f"Error: {error}", style="red")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(updates, shipped, Path(folder))[1:]
    seconds = {phase: fmean(row.get(f"seconds/{phase}", 0.0) for row in rows) for phase in PHASES}
    whole = sum(seconds.values())
    table = Table(title=f"one update, mean of {len(rows)}")
    for column in ("phase", "seconds", "share"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for phase, name in PHASES.items():
        table.add_row(name, f"{seconds[phase]:.3f}", f"{seconds[phase] / whole:.2%}")
    table.add_row("step", f"{whole:.3f}", "")
    console.print(table)
    console.print(
        f"{fmean(row['completion/length'] for row in rows):.0f} tokens a reply, "
        f"{fmean(row['tokens_per_second'] for row in rows):.0f} tokens/s, "
        f"{fmean(row['reader/questions'] for row in rows):.0f} questions read"
    )
    light = sum(spent for phase, spent in seconds.items() if phase not in HEAVY) / whole
    held = light < ALLOWED
    console.print(
        f"{'OK' if held else 'MISSED'}: all but generate and backward take {light:.2%}, allowed {ALLOWED:.0%}"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
