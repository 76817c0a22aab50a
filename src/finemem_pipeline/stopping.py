"""SIGTERM ends a run in order, with an exit code that says: the same command goes on.

A signal may come at any line. Where a line must not be left half done, `hold` lets it wait until `release`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

RESUME_EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: nothing is wrong, try again."""


class Stopped(SystemExit):
    """Somebody asked the process to end."""

    def __init__(self) -> None:
        super().__init__(RESUME_EXIT_CODE)


class _Signal:
    """Whether it has come, and whether it has to wait."""

    asked = False
    held = False


_sigterm = _Signal()


@contextmanager
def orderly() -> Iterator[None]:
    """Within it SIGTERM raises Stopped in the main thread, once; unless somebody handles the signal already."""
    untouched = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not untouched:
        yield
        return
    _sigterm.asked = _sigterm.held = False
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _sigterm.asked = _sigterm.held = False


def hold() -> None:
    """From here on the signal waits."""
    _sigterm.held = True


def release() -> None:
    """The signal waits no longer. Raises Stopped if it came meanwhile."""
    _sigterm.held = False
    if _sigterm.asked:
        raise Stopped


def held() -> bool:
    """Whether something is at work that must not be left half done."""
    return _sigterm.held


def asked() -> bool:
    """Whether the signal has come."""
    return _sigterm.asked


def _stop(number: int, frame: FrameType | None) -> None:
    again, _sigterm.asked = _sigterm.asked, True
    if not again and not _sigterm.held:
        raise Stopped
