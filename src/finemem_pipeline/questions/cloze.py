"""Questions without a model: a sentence of the chunk with a gap.

    Maria's locker code is 4821.   ->   Complete: Maria's locker code is ____.    4821

The gap is a date, a time, a number or a name, and what fills it stands nowhere else in the sentence. Headers, turns of
small talk ("User: …"), labelled examples, questions and sentences that begin with a pronoun are passed over: without
their surroundings nobody could fill their gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from finemem_pipeline.questions.drafts import Draft, Drafts

GAP = "____"

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_SPANS = (  # the most telling first
    re.compile(rf"\b(?:\d{{1,2}} )?{_MONTH} \d{{1,4}}(?:, \d{{4}})?\b|\b\d{{1,2}} {_MONTH}\b"),
    re.compile(r"\b\d{1,2}:\d{2}\b"),
    re.compile(r"\b\d+(?:[.,]\d+)*\b"),
    re.compile(r"(?<=\w )[A-Z][\w-]+(?:(?: (?:of|the|de|von|van))? [A-Z][\w-]+)+"),  # a name within a sentence:
    re.compile(r"(?<=\w )[A-Z][\w-]+"),  # first words, and those after a quotation mark or a comma, may be none
)
_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])")
_BOILERPLATE = re.compile(r"^\[|^(?:user|assistant|system|class|label|query|sentence)\s*:", re.IGNORECASE)
_PRONOUN = re.compile(r"^\W*(?:I|we|you|he|she|it|they|this|that|these|those|his|her|its|their|there)\b", re.IGNORECASE)
_WORDS = range(5, 41)


class ClozeWriter:
    """Blanks out one span per sentence, over the whole length of the text, then further spans of the same sentences."""

    identity = "cloze 1"

    def write(self, texts: Sequence[str], count: int) -> list[Drafts]:
        return [Drafts(tuple(_drafts(text, count))) for text in texts]


def _drafts(text: str, count: int) -> list[Draft]:
    by_sentence = [gaps for sentence in _sentences(text) if (gaps := list(_gaps(sentence)))]
    drafts: list[Draft] = []
    for turn in range(max(map(len, by_sentence), default=0)):
        left = [each[turn] for each in by_sentence if turn < len(each)]
        wanted = min(count - len(drafts), len(left))
        drafts += [left[place * len(left) // wanted] for place in range(wanted)]
    return drafts


def _sentences(text: str) -> Iterator[str]:
    for line in text.splitlines():
        for sentence in _END.split(line.strip(" -*•\t")):
            words = len(sentence.split())
            told = not sentence.endswith("?") and not _BOILERPLATE.match(sentence) and not _PRONOUN.match(sentence)
            if told and words in _WORDS:
                yield sentence


def _gaps(sentence: str) -> Iterator[Draft]:
    """The sentence with each of its good spans left out, the most telling first, the later before the earlier."""
    taken: list[tuple[int, int]] = []
    for pattern in _SPANS:
        for match in reversed(list(pattern.finditer(sentence))):
            start, end = match.span()
            if any(start < other_end and other_start < end for other_start, other_end in taken):
                continue
            taken.append((start, end))
            answer = match.group()
            rest = f"{sentence[:start]}{GAP}{sentence[end:]}"
            if answer.lower() not in rest.lower():
                yield Draft(f"Complete: {rest}", answer)
