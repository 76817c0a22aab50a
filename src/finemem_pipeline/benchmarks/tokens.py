"""A count of tokens that needs no vocabulary and no download."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[a-zA-Z]{1,9}|[^\W\d_]|\d{1,3}|[^\w\s]{1,3}|_+|\n+")


def approximate_tokens(text: str) -> int:
    """About as many tokens as gpt-4o's vocabulary (o200k) makes of it, for cutting chunks as that one would.

    A word costs one token for each nine letters begun, a number one for each three digits, marks that stand together
    one for each three; a letter that is not Latin costs one by itself, so scripts without spaces are overcounted.
    Measured on nine sets of English streams, from labelled queries to novels: 0.95 to 1.07 times the true count.
    """
    return len(_TOKEN.findall(text))
