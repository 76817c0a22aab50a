"""An update that was not made because its loss or its gradient is no finite number: what is kept of it.

<run>/not_finite/step-00007/batch.json    the update, its loss and gradient norm, the constants of the run
                            rows.jsonl    one training row a line, in words and in token ids
                            weights/      the policy it was played and learned with
`replay_batch` goes through it again, row by row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finemem_pipeline.errors import FinememError
from finemem_pipeline.training.runs import Run, write_json
from finemem_pipeline.training.samples import Demonstration, StepSample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOLDER = "not_finite"
BATCH, ROWS, WEIGHTS = "batch.json", "rows.jsonl", "weights"


class NotFiniteError(FinememError):
    """Training cannot go on from here."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An update that was not made."""

    update: int
    loss: float
    grad_norm: float

    def __str__(self) -> str:
        return f"update {self.update} was not made: its loss is {self.loss:g}, its gradient norm {self.grad_norm:g}"


def keep(
    run: Run,
    failed: Failed,
    settings: dict[str, Any],
    samples: Sequence[StepSample],
    tokenizer: PreTrainedTokenizerBase,
    save_weights: Callable[[Path], None],
) -> NotFiniteError:
    """Writes the batch beside the checkpoints; returns the error that tells where it is."""
    rows = []
    for sample in samples:
        episode, sibling, step = sample.key
        told = {"episode": episode, "sibling": sibling, "step": step, "filler": sample.filler}
        rows.append({**told, "advantage": sample.advantage, **_texts(sample, tokenizer)})
    place = _write(run, failed, settings, rows, save_weights)
    return NotFiniteError(
        f"{run.folder}: {failed}. What was trained before is kept. {_how_to_replay(place)} A lower learning_rate of "
        "the recipe, or another training.seed, begins another run; the same command would come to the same update."
    )


def keep_demonstrations(
    run: Run,
    failed: Failed,
    settings: dict[str, Any],
    shown: Sequence[Demonstration],
    tokenizer: PreTrainedTokenizerBase,
    save_weights: Callable[[Path], None],
) -> NotFiniteError:
    """The same for an update of the warm start."""
    place = _write(run, failed, settings, [_texts(each, tokenizer) for each in shown], save_weights)
    return NotFiniteError(
        f"{run.folder}: {failed}. {_how_to_replay(place)} A lower warm_start_learning_rate of the recipe begins "
        "another warm start."
    )


def _texts(row: StepSample | Demonstration, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        "prompt": tokenizer.decode(row.prompt_ids),
        "completion": tokenizer.decode(row.completion_ids),
        "prompt_ids": row.prompt_ids,
        "completion_ids": row.completion_ids,
    }


def _write(
    run: Run,
    failed: Failed,
    settings: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    save_weights: Callable[[Path], None],
) -> Path:
    def write(folder: Path) -> None:
        write_json(folder / BATCH, {**asdict(failed), "settings": settings})
        with (folder / ROWS).open("w", encoding="utf-8") as stream:
            for row in rows:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        save_weights(folder / WEIGHTS)

    return run.keep(f"{FOLDER}/step-{failed.update:05d}", write)


def _how_to_replay(place: Path) -> str:
    return f"Which rows are to blame: python -m finemem_pipeline.training.replay_batch {place}."


def read_demonstrations(folder: Path) -> list[Demonstration]:
    """The rows of a warm start."""
    return [Demonstration(tuple(row["prompt_ids"]), tuple(row["completion_ids"])) for row in _read(folder)]


def read_rows(folder: Path) -> list[StepSample]:
    """The rows as they were trained on."""
    return [
        StepSample(
            tuple(row["prompt_ids"]),
            tuple(row["completion_ids"]),
            (),
            row["advantage"],
            (row["episode"], row["sibling"], row["step"]),
            row["filler"],
        )
        for row in _read(folder)
    ]


def _read(folder: Path) -> list[dict[str, Any]]:
    with (folder / ROWS).open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]
