"""Titles in a reply that lists some, and whether two of them mean the same work.

    The recommendations are:
    1. The Matrix (1999)
    2. **Toy Story 2** - a sequel

lists "The Matrix" and "Toy Story 2".
"""

from __future__ import annotations

import re

from finemem_pipeline.metrics.texts import normalise_answer

_MARKER = re.compile(r"^\s*(?:\d{1,3}[.)]|[-*•])\s*(?=\S)")
_INLINE = re.compile(r"(?:^|\s)\d{1,3}[.)]\s")
_PARENTHESIS = re.compile(r"\([^()]*\)")
_REMARK = re.compile(r"\s[-–—]\s")
_NUMERAL = re.compile(r"\b(?:\d+|[ivx]+)\b")
_TOLERANCE = 10
"""One letter in so many may differ."""


def listed(reply: str) -> list[str]:
    """The titles in order: the numbered or bulleted lines if there are any, else all lines; of a single line, its
    numbered parts, or those between commas.
    """
    lines = [line for line in reply.splitlines() if line.strip()]
    lines = [line for line in lines if _MARKER.match(line)] or lines
    if len(lines) == 1:
        inline = _INLINE.split(lines[0])[1:]
        lines = inline if len(inline) > 1 else lines[0].split(",")
    return [title for title in map(_title, lines) if title]


def same_title(one: str, other: str) -> bool:
    """Equal up to case, articles, punctuation and one wrong letter in ten; numbers, Roman ones too, must agree."""
    left, right = normalise_answer(one), normalise_answer(other)
    if left == right:
        return bool(left) or one.strip() == other.strip()
    most = max(len(left), len(right)) // _TOLERANCE
    # First, so that nothing is measured that is much longer than the title looked for.
    if abs(len(left) - len(right)) > most or _NUMERAL.findall(left) != _NUMERAL.findall(right):
        return False
    return _edits(left, right) <= most


def _title(line: str) -> str:
    text = _PARENTHESIS.sub("", _MARKER.sub("", line, count=1))
    return _REMARK.split(text, maxsplit=1)[0].strip(" \t*_\"'“”.,;")


def _edits(one: str, other: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        before, row[0] = row[0], place
        for column, another in enumerate(other, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (letter != another))
    return row[-1]
