"""What two processes are told to do: started by finemem_pipeline.launch, with a JSON file of lessons by name.

Every lesson trains a pupil of tests/training/conftest.py, and its outcome is written beside it, by the first process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

from finemem_pipeline import stopping
from finemem_pipeline.errors import FinememError
from finemem_pipeline.training import together

warnings.filterwarnings("ignore")


def pupils():
    spec = importlib.util.spec_from_file_location("pupils", Path(__file__).with_name("conftest.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Fragile:
    """A reasoner that is lost in an update, on one process."""

    def __init__(self, rank: int) -> None:
        from finemem_pipeline.reasoning.extractive import ExtractiveReasoner

        self.reasoner = ExtractiveReasoner()
        self.identity = self.reasoner.identity
        self.rank = rank
        self.practice = None
        self.update = 0

    def answer(self, asked):
        from finemem_pipeline.reasoning import ReasonerError

        if self.update == 4 and together.team().rank == self.rank:
            raise ReasonerError("the reader has gone home")
        return self.reasoner.answer(asked)


def lesson(model: str, folder: str, options: dict) -> dict:
    from finemem_pipeline.training import zero

    seen: dict = {}
    check = zero.check

    def looked_at(trainer, stage):
        check(trainer, stage)
        engine = trainer.model_wrapped
        seen.update(
            engine=type(engine).__name__,
            stage=engine.zero_optimization_stage(),
            optimizer=type(engine.optimizer).__name__,
            shares=engine.dp_world_size,
            enabled=trainer.is_deepspeed_enabled,
        )

    zero.check = looked_at
    team = together.team()
    fragile = Fragile(1) if options.pop("loses_reader", False) else None
    act = options.pop("act", None)
    pupil = pupils().Pupil(Path(model), Path(folder), reasoner=fragile, team=team, **options)
    if fragile is not None:
        fails_in = pupil.practice._play

        def played(update, indices):
            fragile.update = update
            return fails_in(update, indices)

        pupil.practice._play = played
    if act is not None:
        ACTS[act](pupil)
    try:
        seen["result"] = str(pupil.train())
    finally:
        zero.check = check
    return seen


def not_a_number(pupil) -> None:
    """One row of the second process."""

    def spoil(rows):
        spoiled = next(place for place in range(len(rows) - 1, 0, -1) if not rows[place].filler)
        return [replace(row, advantage=float("nan")) if place == spoiled else row for place, row in enumerate(rows)]

    pupil.before_learning(3, spoil)


def crash(pupil) -> None:
    """In the middle of the common work, without a word to the others."""

    def fail(rows):
        if pupil.team.rank == 1:
            raise ValueError("a bug of the second process")
        return rows

    pupil.before_learning(3, fail)


def terminate(pupil) -> None:
    """The second process alone is asked to stop, while it plays."""
    ask = pupil.practice.manager.act

    def act(observations):
        if pupil.team.rank == 1 and len(list(pupil.run.rollouts_folder.glob("step-*.jsonl"))) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return ask(observations)

    pupil.practice.manager.act = act


ACTS = {"not_a_number": not_a_number, "crash": crash, "terminate": terminate}


def main() -> None:
    model, folder = sys.argv[1], Path(sys.argv[2])
    with stopping.orderly(), together.joined() as team:
        if not team.first:
            raise SystemExit(team.follow())
        for name, (place, options) in json.loads((folder / "lessons.json").read_text()).items():
            try:
                outcome = team.call(lesson, model, str(folder / place), options)
            except FinememError as error:
                outcome = {"error": str(error)}
            (folder / f"{name}.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
