"""The rule that any claim about conflicts must be compared with: what was said last about a thing is so.

17. The capital of Lithuania is Vilnius.       about "the capital of lithuania is"
203. The capital of Lithuania is Russellville.       replaces it
- rugby was created in the country of England.       about "rugby was created in the country of"
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.replies import written
from finemem_pipeline.manager.sentences import sentences
from finemem_pipeline.memory import Insert, Operation, Update

LONGEST = 40
"""Words. A longer sentence is no statement."""

_SERIAL = re.compile(r"\s*(?:(\d{1,9})[.):]\s+|[-*•]\s+)?(.*)", re.DOTALL)
_VERBS = {"is", "are", "was", "were"}
_LINKS = {"of", "in", "by", "to", "with", "for", "as", "from", "at", "on", "than", "be"}
_NOBODY = {
    "it", "he", "she", "they", "we", "i", "you", "this", "that", "these", "those", "there", "here", "what", "who",
    "which", "where", "when", "how", "why", "one", "some", "all",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statement:
    """What a sentence is about, and its serial number if it has one."""

    about: str | None  # None: about nothing that could be said anew
    serial: int | None = None


class LatestWins:
    """Keeps every sentence as an item of its own; one about the same thing as an older item replaces its text.

    What a statement is about are its leading words, up to where its value begins: after the first of is, are, was,
    were come the small words up to a capital or a number; where there are no such words, up to the last preposition.
    Of two statements with serial numbers the larger number wins, whatever came last; a sentence that stands in the
    memory already is not written again. No language model: it knows neither synonyms nor pronouns, and in prose it
    also replaces what was not meant to be ("The house was old." by "The house was sold.").
    """

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        return [Turn(written(_operations(each))) for each in observations]


def _operations(observation: Observation) -> list[Operation]:
    """One operation per sentence that changes something. A statement replaced within the chunk is not written."""
    texts = {item.id: item.text for item in observation.bank.items}
    holders = {said.about: item_id for item_id, text in texts.items() if (said := statement(text)).about}
    known = set(texts.values())
    fresh: dict[str, str] = {}  # by what it is about, or by itself
    for text in sentences(observation.chunk.text):
        said = statement(text)
        if said.about is None:
            if text not in known:
                fresh.setdefault(text, text)
            continue
        old = fresh.get(said.about) or texts.get(holders.get(said.about, ""))
        if old is None or (old != text and _newer(said, statement(old))):
            fresh[said.about] = text
    return [Update(holders[about], text) if about in holders else Insert(text) for about, text in fresh.items()]


def _newer(said: Statement, old: Statement) -> bool:
    return said.serial is None or old.serial is None or said.serial >= old.serial


@lru_cache(maxsize=65536)
def statement(text: str) -> Statement:
    """What a sentence is about."""
    found = _SERIAL.fullmatch(text)
    assert found is not None  # it matches anything
    serial = int(found[1]) if found[1] else None
    words = found[2].split()
    if "\n" in text or not 3 <= len(words) <= LONGEST or text.rstrip().endswith("?"):
        return Statement(None, serial)
    end = _value(words)
    subject = [word.lower().strip(",:;") for word in words[:end]]
    if end is None or end < 2 or subject[0].split("'")[0] in _NOBODY:
        return Statement(None, serial)
    return Statement(" ".join(subject), serial)


def _value(words: Sequence[str]) -> int | None:
    """The place of the first word of the value; None if no word tells."""
    verb = next((place for place, word in enumerate(words) if place and word in _VERBS), None)
    if verb is not None:
        for place in range(verb + 1, len(words)):
            if not words[place][0].islower():
                return place
    last = len(words) - 1
    begin = 1 if verb is None else verb
    links = [place for place in range(begin, last) if words[place] in _LINKS]
    if links:
        return links[-1] + 1
    return None if verb is None or verb == last else verb + 1
