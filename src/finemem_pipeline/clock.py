"""Where the time of a step goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Wall seconds per phase. Phases nest: the seconds of an inner one are not counted in the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        self._close_account()
        self._open.append(phase)
        try:
            yield
        finally:
            self._close_account()
            self._open.pop()

    def reset(self) -> dict[str, float]:
        """The seconds so far; counting starts anew."""
        counted, self.seconds = dict(self.seconds), defaultdict(float)
        return counted

    def _close_account(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
