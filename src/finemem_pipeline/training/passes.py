"""Which rows of an update go through the model together: as many tokens at a time as memory allows, little padding."""

from __future__ import annotations

from collections.abc import Sequence

Size = tuple[int, int]
"""Tokens of a row: of its prompt, of its completion."""


def deal(sizes: Sequence[Size], rows: int) -> list[int]:
    """How many of these rows, in their order, each forward and backward pass takes: long rows first pads least.

    No pass takes more tokens, padding included, than `rows` rows of the largest size, so all but the last have at least
    `rows` of them, and more where they are short. Prompts are padded to one width and completions to another.
    """
    if not sizes:
        return []
    room = rows * (max(prompt for prompt, _ in sizes) + max(completion for _, completion in sizes))
    counts = [0]
    prompt = completion = 0
    for size in sizes:
        wider = max(prompt, size[0]), max(completion, size[1])
        if counts[-1] and (counts[-1] + 1) * sum(wider) > room:
            counts.append(0)
            wider = size
        prompt, completion = wider
        counts[-1] += 1
    return counts


def spread(counts: Sequence[int], passes: int) -> list[int]:
    """The same rows in exactly so many passes, the fullest halved first. There are at least as many rows as passes."""
    found = list(counts)
    while len(found) < passes:
        fullest = found.index(max(found))
        found[fullest : fullest + 1] = [found[fullest] - found[fullest] // 2, found[fullest] // 2]
    return found
