"""A training run on disk: one folder per configuration, so that the same command continues where it stopped.

<folder>/<kind>-<key>/config.json          what the key was made of
                      metrics.jsonl        one row per update
                      rollouts/step-00001.jsonl
                      checkpoints/checkpoint-5/      renamed into place when whole
                      checkpoints/.writing/          a checkpoint that is being written
                      policy-00008/        the weights after 8 updates, renamed into place when whole
                      not_finite/step-00007/  an update that was not made: its loss was no number

Where data is kept elsewhere (`store`), checkpoints and results are put there as they come, metrics and rollouts with
them, and a run goes on from the newest checkpoint that is whole, here or there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finemem_pipeline import store
from finemem_pipeline.errors import FinememError

log = logging.getLogger(__name__)


class DiskFull(FinememError):
    """There is no room for a checkpoint."""


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
            store.drop(run.folder)
        run.folder.mkdir(parents=True, exist_ok=True)
        write_json(run.folder / "config.json", config)
        store.put(run.folder / "config.json")
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
            self._sweep()
            store.claim(self.folder)
            yield

    def _sweep(self) -> None:
        """Deletes what a kill left half-written or half-deleted."""
        inside = [
            left
            for pattern in (".*.part", ".*.removed", self.writing_folder.name)
            for left in self.folder.rglob(pattern)
        ]
        for left in [*inside, *self.folder.parent.glob(f".{self.folder.name}.*.removed")]:
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def rollouts_folder(self) -> Path:
        return self.folder / "rollouts"

    @property
    def checkpoints_folder(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def writing_folder(self) -> Path:
        """Where a trainer writes its checkpoint."""
        return self.checkpoints_folder / ".writing"

    def result(self, name: str) -> Path:
        """Where the finished result of that name stands, or will stand."""
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether the finished result of that name is here, or has been brought here with the metrics of the run."""
        place = self.result(name)
        if place.exists():
            if store.put_again(place):  # made while data was kept here, or while the store did not answer
                store.put(*self._told())
            return True
        if not store.fetch_whole(place):
            return False
        store.fetch(self.metrics_file)
        store.fetch(self.rollouts_folder)
        return True

    def keep(self, name: str, save: Callable[[Path], None]) -> Path:
        """Lets `save` fill a folder beside, then renames it into place."""
        place = self.result(name)
        part = place.with_name(f".{place.name}.part")
        remove(part)
        part.mkdir(parents=True)
        try:
            save(part)
            remove(place)
            os.replace(part, place)
        finally:
            remove(part)
        if store.elsewhere():
            store.put(*self._told(after=max(map(step_of, self._checkpoints_elsewhere()), default=0)))
            store.put_whole(place)
        return place

    @contextmanager
    def writing_checkpoint(self, step: int) -> Iterator[Path]:
        """Lets the caller fill a folder beside, then brings it to the disk and renames it into place.

        So a checkpoint that stands in its place is whole, whatever ends the process or the machine, and whenever.
        Raises DiskFull.
        """
        place = self.checkpoints_folder / checkpoint_name(step)
        remove(self.writing_folder)
        part = self.writing_folder / place.name
        try:
            part.mkdir(parents=True)
            yield part
            _persist(part)
            os.replace(part, place)
            _sync(self.checkpoints_folder)
        except Exception as error:
            if not _is_full(error, self.folder):
                raise
            newest = self.newest_checkpoint()
            told = f"The run goes on from {newest.name}" if newest else "The run begins anew"
            raise DiskFull(
                f"{place}: the disk is full, and the checkpoint of update {step} was not written. {told} once there is "
                "room: delete something, or lower training.keep_checkpoints, and give the same command again."
            ) from error
        finally:
            remove(self.writing_folder)

    def checkpoints(self) -> list[Path]:
        """Those that are whole, oldest first."""
        return sorted(self.checkpoints_folder.glob("checkpoint-*"), key=step_of)

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint with the highest step, if there is one."""
        return max(self.checkpoints(), key=step_of, default=None)

    def prune_checkpoints(self, most: int, spared: Collection[int] = ()) -> None:
        """Drops all but the newest `most` and those of the steps `spared`."""
        for path in self.checkpoints()[:-most]:
            if step_of(path) not in spared:
                remove(path)

    def put_checkpoint(self, step: int) -> None:
        """Puts it where data is kept, with metrics and rollouts, and drops there what was dropped here.

        Raises Superseded where another machine has taken up the run. A store that does not take it costs a warning:
        the next checkpoint is tried again.
        """
        if not store.elsewhere():
            return
        try:
            store.claimed(self.folder)
            kept = self._checkpoints_elsewhere()
            before = max((step_of(path) for path in kept if step_of(path) < step), default=0)
            store.put(*self._told(after=before))
            for path in self.checkpoints():
                if path not in kept or step_of(path) == step:
                    store.put_whole(path)
            for path in kept:
                if not path.exists():
                    store.drop(path)
        except store.StoreError as error:
            log.warning("%s: checkpoint %d was not stored, training goes on: %s", self.folder.name, step, error)

    def catch_up(self) -> None:
        """Brings the run here if another machine has come further with it; what was here of it goes."""
        kept = self._checkpoints_elsewhere()
        newest = self.newest_checkpoint()
        if not kept or (newest is not None and step_of(newest) >= step_of(kept[-1])):
            return
        remove(self.rollouts_folder)
        for path in self.folder.iterdir():
            if path.is_file() and path.name != "config.json":
                path.unlink()
        store.fetch(self.metrics_file)
        store.fetch(self.rollouts_folder)
        for path in kept:  # the newest one comes last: a kill in between leaves a run that is behind
            try:
                store.fetch_whole(path)
            except store.Damaged as error:
                log.warning("%s", error)
                store.drop(path)

    def _checkpoints_elsewhere(self) -> list[Path]:
        """Those that are whole where data is kept, oldest first."""
        return sorted(store.whole(self.checkpoints_folder), key=step_of)

    def _told(self, after: int = 0) -> list[Path]:
        """The metrics, and the rollouts of updates after that one."""
        rollouts = [path for path in self.rollouts_folder.glob("step-*.jsonl") if rollouts_step(path) > after]
        return [path for path in (self.metrics_file, *rollouts) if path.is_file()]

    def forget_after(self, step: int) -> None:
        """Drops metrics and rollouts of later steps: the run is about to play them again."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        part = self.metrics_file.with_name(".metrics.jsonl.part")
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(part, self.metrics_file)
        for path in self.rollouts_folder.glob("step-*.jsonl"):
            if rollouts_step(path) > step:
                path.unlink()
        for path in self.checkpoints():
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


def weights_at(folder: Path) -> Path:
    """The folder of weights that a summary names, brought here if need be. Raises FinememError if it is nowhere."""
    if not store.fetch_whole(folder):
        raise FinememError(
            f"{store.told(folder)}: the weights are not there any more. Train again: kedro run --pipelines=train"
        )
    return folder


def remove(folder: Path) -> None:
    """Deletes a folder under another name, so that a kill half-way leaves no half of it where it stood."""
    if folder.exists():
        doomed = folder.with_name(f".{folder.name}.{os.getpid()}.removed")
        os.replace(folder, doomed)
        shutil.rmtree(doomed)


def checkpoint_name(step: int) -> str:
    """The folder of a checkpoint, as transformers calls it."""
    return f"checkpoint-{step}"


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint folder."""
    return int(checkpoint.name.rpartition("-")[2])


def rollouts_step(file: Path) -> int:
    """The update in the name of a file of rollouts."""
    return int(file.stem.removeprefix("step-"))


def _persist(folder: Path) -> None:
    """Returns once the folder and all it holds are on the disk: a rename may get there before what it names."""
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_full(error: BaseException, folder: Path) -> bool:
    """Whether a write failed for want of room. Libraries that write by themselves do not always say so."""
    at: BaseException | None = error
    while at is not None:
        if getattr(at, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(at):
            return True
        at = at.__cause__ or at.__context__
    return shutil.disk_usage(folder).free < _NO_ROOM


_NO_ROOM = 2**20  # bytes
