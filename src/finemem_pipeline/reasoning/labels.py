"""Questions that want a class number, and the labelled examples that a memory holds of them.

    Query: put on some jazz
    Which class number does this query get? Answer with the number only.

    Sentence: Patients were followed for a year.
    What are the labels for the above sentence? Put the number in \\boxed{}.

A reasoner sees no metric, so such a question is told by its words: a class or label number, the number only, labels
for what stands above, a label in a box, or a last line "label:" left to be filled in.

All such questions of a stream share all but the item. A retriever that is given it ranks by those words, so only the
item is looked for: with one memory item per example that lifts BM25's top two from holding the right number for 79 %
of the clinc150 questions to 94 %.
"""

from __future__ import annotations

import re
from functools import lru_cache

from finemem_pipeline.reasoning.asking import bare

_NAME = r"(?:class(?:es)?|labels?|categor(?:y|ies)|intents?)(?:\s+(?:number|no\.?|id))?"
_ASKS = re.compile(
    r"\b(?:class|label|category|intent) (?:number|id)s?\b|\bnumber only\b|\bnumerical (?:class|label|category|intent)"
    r"|\b(?:class(?:es)?|labels?|categor(?:y|ies)|intents?) (?:of|for) the (?:above|following)\b"
    r"|\b(?:class|label|category|intent)\b[^\n]{0,80}\\boxed\b|\\boxed\{(?:class|label|category|intent)"
    r"|^\W*(?:class|label|category|intent)s?\s*:\s*$",
    re.I | re.M,
)
_PREFIX = re.compile(r"^\W*(?:query|sentence|text|utterance|example|sample|input|question|item|user)\s*:\s*", re.I)
_QUOTED = re.compile(r"[\"“]([^\"”]+)[\"”]")
_ALONE = re.compile(rf"^\W*{_NAME}\W*(?:is\W*)?(\d+)\W*$", re.I)
_FIRST = re.compile(
    rf"^\W*(?:{_NAME}\W{{0,3}}(\d+)|(\d+))\s*(?:[:=)\]–-]{{1,3}}>?|is\b|means\b|→)\s*(.*[^\W\d_].*)$", re.I
)
_MARK = re.compile(rf"(?:(?:[-=]>|→)\s*(?:{_NAME})?|\b{_NAME})\W{{0,3}}(?:is\s+)?(\d+)\b|[=:,(]\s*(\d+)\W*$", re.I)
_LINES = re.compile(r"\n+|;\s")
_TIME = re.compile(r"^\s*\[[^\]]*\d:\d\d\]\s*$")  # "[Session 2025-01-06 09:00]" is no example of class 00


@lru_cache(maxsize=8192)
def asks_for_label(question: str) -> bool:
    """Whether the answer is to be a class number. Cached: siblings are asked the same questions."""
    return bool(_ASKS.search(question))


def searched(question: str) -> str:
    """What to look for in a memory: the item of a label question, any other question without how to answer it."""
    return item_of(question) if asks_for_label(question) else bare(question)


def item_of(question: str) -> str:
    """The thing that a label question wants classified: what stands behind "Query:" or the like, else all lines that
    do not ask for the label.
    """
    lines = [line for line in question.splitlines() if line.strip()]
    if len(lines) > 1:
        told = [line for line in lines if not asks_for_label(line)]
        begin = next((place for place, line in enumerate(told) if _PREFIX.match(line)), 0)
        return _PREFIX.sub("", " ".join(told[begin:]) or question)
    quoted = _QUOTED.search(question)
    return quoted[1] if quoted else _PREFIX.sub("", question)


@lru_cache(maxsize=8192)
def labelled_examples(text: str) -> tuple[tuple[str, str], ...]:
    """(example, label) for every labelled example of a text, however it was noted.

    "Query: play jazz\\nClass: 22", "play jazz -> 22; call a cab -> 1", "Class 22: play jazz", "play jazz (class 22)".
    """
    found: list[tuple[str, str]] = []
    before = ""
    for line in _LINES.split(text):
        if _TIME.match(line):
            before = ""
        elif alone := _ALONE.match(line):
            found.append((before, alone[1]))
            before = ""
        elif first := _FIRST.match(line):
            found.append((first[3], first[1] or first[2]))
            before = ""
        else:
            begin = 0
            for mark in _MARK.finditer(line):
                found.append((line[begin : mark.start()], mark[1] or mark[2]))
                begin = mark.end()
            before = line[begin:]
    read = ((_PREFIX.sub("", example).strip(" -–*•,;(["), label) for example, label in found)
    return tuple((example, label) for example, label in read if example)
