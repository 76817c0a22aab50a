r"""The scorers behind the published tables, faults included, so that a number of ours can be read beside theirs.

Mem-α scores `sub_em`, `perltqa`, `digit_label` and `keyword_recall` by the first reference alone; the others are
MemoryAgentBench's. What is odd in them:

- `sub_em` scores yes/no answers by containment too: "I know" holds "no".
- `perltqa` lower-cases several keywords but not the prediction, so names in it are missed; an empty keyword, as after
  a ';' at the end, is always found.
- `digit_label` takes nothing but digits: "label: 3" is wrong.
- `keyword_recall` parts the answer at ", " alone, so "a,b" is one keyword, and finds empty keywords everywhere.
- `ruler` and `event_recall` find a reference of which normalising leaves nothing ("The") everywhere.
- `exact_match` of a class number takes the parsed answer alone: "label: 43" is not "43".
- `recall_at_5` counts blank lines among the first five.

The list of films that MemoryAgentBench maps titles to is no part of its rows; titles are matched as in the fixed rule.
"""

from __future__ import annotations

import re

from finemem_pipeline.episodes import Question
from finemem_pipeline.metrics import fixed
from finemem_pipeline.metrics.texts import boxed, keywords, normalise_answer, parsed, references, unquoted
from finemem_pipeline.metrics.titles import same_title

_DIGITS = re.compile(r"\d+")
_WORD = re.compile(r"\w+")
_PARENTHESIS = re.compile(r"\([^()]*\)")
_NUMBERING = re.compile(r"^\d+[.)、]?\s*(?:[-—–]\s*)?")


def sub_em(prediction: str, question: Question) -> float:
    """1 if the first reference occurs in the prediction, both lower-cased."""
    return float(references(question)[0].lower() in prediction.lower())


def perltqa(prediction: str, question: Question) -> float:
    """Several keywords: the share whose lower-cased form occurs in the prediction as it stands. One: containment."""
    gold = references(question)[0]
    if ";" not in gold:
        return float(gold.lower() in prediction.lower())
    wanted = gold.split(";")
    return sum(keyword.lower().strip() in prediction for keyword in wanted) / len(wanted)


def digit_label(prediction: str, question: Question) -> float:
    r"""1 if what stands in the first \boxed{}, or else the whole prediction, is all digits and the first reference."""
    gold, inside = unquoted(references(question)[0]), unquoted(boxed(prediction))
    return float(inside == gold and bool(_DIGITS.fullmatch(inside)))


def keyword_recall(prediction: str, question: Question) -> float:
    """The share of the keywords in the answer that occur in the prediction, both lower-cased.

    Only where the answer is a list of keywords: one that says more, as a summary does, was never scored this way.
    """
    gold = references(question)
    wanted = gold[0].split(", ") if len(gold) == 1 else list(gold)
    if not _words(wanted) <= _words(keywords(question)):
        return fixed.keyword_recall(prediction, question)
    said = prediction.lower()
    return sum(keyword.lower() in said for keyword in wanted) / len(wanted)


def ruler(prediction: str, question: Question) -> float:
    """1 if a normalised reference occurs in the normalised prediction, or in the answer parsed out of it."""
    return float(any(_holds(text, question) for text in (prediction, parsed(prediction))))


def event_recall(prediction: str, question: Question) -> float:
    """1 if any normalised reference occurs in the parsed answer, whatever the other references."""
    return float(_holds(parsed(prediction), question))


def exact_match(prediction: str, question: Question) -> float:
    """1 if a normalised reference is the parsed answer, or, unless it is a class number, the whole prediction."""
    wanted = references(question)
    heard = [parsed(prediction)] if all(map(str.isdecimal, wanted)) else [prediction, parsed(prediction)]
    return float(any(normalise_answer(text) == normalise_answer(answer) for text in heard for answer in wanted))


def recall_at_5(prediction: str, question: Question) -> float:
    """The share of the reference titles among the first five lines after the first "1."; without one, commas part."""
    _, numbered, rest = prediction.partition("1.")
    lines = (rest if numbered else prediction.replace(",", "\n")).split("\n", maxsplit=5)[:5]
    said = [_NUMBERING.sub("", _PARENTHESIS.sub("", line.strip())).strip() for line in lines]
    wanted = references(question)
    return sum(any(same_title(title, one) for one in said) for title in wanted) / len(wanted)


def _holds(text: str, question: Question) -> bool:
    heard = normalise_answer(text)
    return any(normalise_answer(answer) in heard for answer in references(question))


def _words(texts: list[str] | tuple[str, ...]) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text.lower())}
