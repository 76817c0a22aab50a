"""Errors meant for the person who ran the command: where, what was found, what was allowed, the nearest guess."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class FinememError(Exception):
    """A fault the user can mend. The command line prints the message alone, without a traceback."""


class DataError(FinememError):
    """The data cannot be used: a file is missing or damaged, rows break the schema, a set breaks an expectation."""


def unknown(where: str, found: str, known: Iterable[str], what: str = "name") -> str:
    """The sentence for a name that is not in a table."""
    known = sorted(known)
    close = get_close_matches(found, known, n=1, cutoff=0.5)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    return f"{where}: '{found}' is not a known {what}.{guess} Known: {', '.join(known) or 'none'}."
