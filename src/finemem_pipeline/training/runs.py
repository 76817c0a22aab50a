"""A training run on disk: one folder per configuration, so that the same command continues where it stopped.

<folder>/<kind>-<key>/config.json          what the key was made of
                      metrics.jsonl        one row per update
                      rollouts/step-00001.jsonl
                      checkpoints/checkpoint-5/complete
                      policy-00008/        the weights after 8 updates, renamed into place when whole
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finemem_pipeline.errors import FinememError

log = logging.getLogger(__name__)

COMPLETE = "complete"  # written last into a checkpoint: without it the checkpoint is half-written and ignored


def digest(*parts: Any) -> str:
    """Twelve hex digits over JSON-able parts, the same for the same content."""
    canonical = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def write_json(path: Path, value: Any) -> None:
    """Writes beside, then renames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str), encoding="utf-8")
    os.replace(part, path)


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of one run."""

    folder: Path

    @classmethod
    def open(cls, root: Path, kind: str, config: Mapping[str, Any], *, fresh: bool = False) -> Run:
        """The run of that configuration; `fresh` throws away what an earlier one left."""
        run = cls(root / f"{kind}-{digest(config)}")
        if fresh:
            remove(run.folder)
        run.folder.mkdir(parents=True, exist_ok=True)
        write_json(run.folder / "config.json", config)
        return run

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps a second process out of the folder. Raises FinememError if another one is at work in it."""
        with self.folder.with_name(f".{self.folder.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it when the process ends
            except OSError as error:
                raise FinememError(
                    f"{self.folder}: another process is training this very configuration. Wait for it, or change "
                    "training.seed or training.folder."
                ) from error
            yield

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def rollouts_folder(self) -> Path:
        return self.folder / "rollouts"

    @property
    def checkpoints_folder(self) -> Path:
        return self.folder / "checkpoints"

    def result(self, name: str) -> Path:
        """Where the finished result of that name stands, or will stand."""
        return self.folder / name

    def keep(self, name: str, save: Callable[[Path], None]) -> Path:
        """Lets `save` fill a folder beside, then renames it into place."""
        part = self.folder / f".{name}.part"
        remove(part)
        part.mkdir(parents=True)
        save(part)
        place = self.result(name)
        remove(place)
        os.replace(part, place)
        return place

    def newest_checkpoint(self) -> Path | None:
        """The complete checkpoint with the highest step, if there is one."""
        complete = [path.parent for path in self.checkpoints_folder.glob(f"checkpoint-*/{COMPLETE}")]
        return max(complete, key=step_of, default=None)

    def forget_after(self, step: int) -> None:
        """Drops metrics and rollouts of later steps: the run is about to play them again."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        part = self.metrics_file.with_name(".metrics.jsonl.part")
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(part, self.metrics_file)
        for path in self.rollouts_folder.glob("step-*.jsonl"):
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink()
        for path in self.checkpoints_folder.glob("checkpoint-*"):
            if step_of(path) > step:
                remove(path)

    def metrics(self) -> list[dict[str, Any]]:
        """The rows written so far, up to the first that is damaged (a kill or a full disk cuts off the last one)."""
        if not self.metrics_file.is_file():
            return []
        rows = []
        for line in self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                log.warning("%s: row %d is damaged, it and what follows are left out", self.metrics_file, len(rows) + 1)
                break
        return rows

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        self.metrics_file.parent.mkdir(parents=True, exist_ok=True)
        with self.metrics_file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


def remove(folder: Path) -> None:
    """Deletes a folder under another name, so that a kill half-way leaves no half of it where it stood."""
    if folder.exists():
        doomed = folder.with_name(f".{folder.name}.{os.getpid()}.removed")
        os.replace(folder, doomed)
        shutil.rmtree(doomed)


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint folder."""
    return int(checkpoint.name.rpartition("-")[2])
