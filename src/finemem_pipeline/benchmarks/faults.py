"""What is wrong with a file, told all at once: file, row, field, reason."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import DataError

log = logging.getLogger(__name__)

SHOWN = 50
"""Faults printed of one file; the rest is counted."""


NAMED = 5
"""Things named that were left out; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with one row."""

    line: int  # or row, from 1
    field: str  # "questions[3].metric"; "" for the row as a whole
    reason: str


def report(file: Path, faults: Sequence[Fault]) -> str:
    """The message of a DataError: a count, and a line for each fault."""
    rows = len({fault.line for fault in faults})
    head = f"{file}: {len(faults)} fault{'s'[: len(faults) > 1]} in {rows} row{'s'[: rows > 1]}, nothing was read."
    said = [
        f"  {file.name}:{fault.line}: {fault.field + ': ' if fault.field else ''}{fault.reason}"
        for fault in faults[:SHOWN]
    ]
    more = [f"  … and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    return "\n".join([head, *said, *more])


def told(left_out: Sequence[str]) -> str:
    """What was left out of a file, the first of it by name."""
    return f"{len(left_out)} left out, as they cannot be read or scored: {'; '.join(left_out[:NAMED])}" + (
        " …" if len(left_out) > NAMED else ""
    )


def settled(
    file: Path, streams: list[Episode], faults: Sequence[Fault], left_out: Sequence[str], remedy: str
) -> list[Episode]:
    """The streams of a file that was read, with a warning of what was left out.

    Raises DataError for all faults at once, and for a file without rows.
    """
    if faults:
        raise DataError(report(file, faults))
    if not streams:
        raise DataError(f"{file}: the file has no rows. {remedy}")
    if left_out:
        _warn(file, told(left_out))
    return streams


@cache
def _warn(file: Path, said: str) -> None:
    """Once: a run reads a file to see whether it can, and again for each of its splits."""
    log.warning("%s: %s", file, said)


def problem(value: Any) -> str | None:
    """Why a value cannot be the text of a chunk, a question or an answer, if it cannot."""
    if not isinstance(value, str):
        return f"expected text, found {quoted(value)}"
    if not value.strip():
        return "is empty"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is no character"
    return None


def quoted(value: Any) -> str:
    """A value as a reason shows it: in one line, and not all of a long one."""
    text = json.dumps(value, ensure_ascii=True, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}…"


def guess(found: str, known: Iterable[str]) -> str:
    """The sentence that asks for the nearest known name, or nothing."""
    close = get_close_matches(found, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def listing(folder: Path, names: list[str]) -> str:
    """The sentence that tells what a folder holds."""
    if not names:
        return f" {folder} is empty or not there."
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f" In {folder}: {', '.join(names[:10])}{more}."
