"""Progress of long work: what is happening, how far it is, how long it will take."""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)


class Bar:
    """A bar on a terminal; without one, a log line per step or hundredth, so that a log file tells the same.

    One that is not `shown` does neither.
    """

    def __init__(self, what: str, total: int, *, shown: bool = True) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.what = what
        self.total = total
        self._told = 0
        self._live = sys.stdout.isatty()
        self._logged = shown and not self._live
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}", style="dim"),
            disable=not (shown and self._live),
        )
        self._task = self._progress.add_task(what, total=total, now="")

    def at(self, done: int, now: str = "") -> None:
        """`done` of the steps are finished; `now` says what is happening."""
        self._progress.update(self._task, completed=done, now=now)
        if self._logged and done > self._told and (done == self.total or done - self._told >= self.total // 100):
            log.info("%s: %d of %d", self.what, done, self.total)
            self._told = done

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.at(self.total)
        self._progress.stop()
