"""Cutting a chunk into the pieces that scripted managers store one by one."""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?])([\"'”’)]*)\s+(?=[\"'“‘(\[]?[A-Z0-9])")
_LISTED = re.compile(r"(?m)^(\d+[.)])\n")
_LABELLED = re.compile(r"^(class|label|category|intent)\s*:", re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """The sentences of a chunk in order, without blanks.

    A `Class: 7` line stays with the example above it, and the number of a list, `12.`, with what it numbers.
    """
    found: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if not line:
            continue
        if _LABELLED.match(line) and found:
            found[-1] = f"{found[-1]}\n{line}"
        else:
            cut = _LISTED.sub(r"\1 ", _END.sub(r"\1\n", line))
            found.extend(piece.strip() for piece in cut.split("\n") if piece.strip())
    return found
