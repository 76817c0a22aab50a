"""Reading what a model was asked to reply in a form of its own, and writing it down as operations.

No reply is an error: what cannot be read is a malformed fragment of the step, and the memory stays as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from finemem_pipeline.memory import CountTokens, Operation, Skip, format_operations
from finemem_pipeline.rollouts import Completion

_OPEN, _CLOSE = "<think>", "</think>"
_BEGINS = re.compile(r"[\[{]")
_SHOWN = 160  # characters of a reply that could not be read
_TRIES = 50  # brackets of a reply that open nothing, after which it is not read on


def clean(text: str) -> str:
    """The text with pairs of surrogates joined and single ones replaced, so that a tokenizer can count it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def spoken(text: str) -> str:
    """What a reply says outside its thoughts; nothing is said after a thought that never ends."""
    said = clean(text).rpartition(_CLOSE)[2]
    return said.partition(_OPEN)[0].strip()


def values(said: str) -> Iterator[Any]:
    """Every JSON list and object in a reply, in order. Of one that never closes, those inside it."""
    decoder = json.JSONDecoder(strict=False)
    at = tries = 0
    while tries < _TRIES and (begin := _BEGINS.search(said, at)):
        try:
            value, at = decoder.raw_decode(said, begin.start())
        except (ValueError, RecursionError):
            at = begin.end()
            tries += 1
        else:
            yield value


def line(text: str) -> str:
    """The text on one line."""
    return " ".join(clean(text).split())


def first_tokens(text: str, limit: int, count_tokens: CountTokens) -> str:
    """The beginning of a text that has at most `limit` tokens, cut between words where there are any."""
    end = _longest(len(text), lambda n: count_tokens(text[:n]) <= limit)
    if end == len(text):
        return text
    words = re.match(r"(?s).*(?=\s)", text[: end + 1])
    whole = words[0].rstrip() if words else ""
    return whole if whole and count_tokens(whole) <= limit else text[:end]


def last_tokens(text: str, limit: int, count_tokens: CountTokens) -> str:
    """The end of a text that has at most `limit` tokens, cut between words where there are any."""
    size = _longest(len(text), lambda n: count_tokens(text[len(text) - n :]) <= limit)
    begin = len(text) - size
    if begin == 0:
        return text
    space = re.search(r"\s", text[begin - 1 :])
    whole = text[begin - 1 + space.end() :].lstrip() if space else ""
    return whole if whole and count_tokens(whole) <= limit else text[begin:]


def _longest(most: int, fits: Any) -> int:
    """The largest n ≤ most that fits, where what fits is about all that is shorter than something."""
    if fits(most):
        return most
    low, high = 0, most  # high does not fit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def written(operations: Sequence[Operation], unread: Sequence[str] = ()) -> Completion:
    """The operations in the wire format, with one malformed fragment for each reply that could not be read."""
    entries = [format_operations([operation])[1:-1] for operation in operations]
    entries += [json.dumps({"unread": clean(each)[:_SHOWN]}, ensure_ascii=False) for each in unread]
    return Completion("[" + ", ".join(entries or [format_operations([Skip()])[1:-1]]) + "]")
