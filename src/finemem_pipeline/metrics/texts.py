"""What of a reply is compared, and with what: the parts of texts that more than one rule looks at."""

from __future__ import annotations

import re
import string

from finemem_pipeline.episodes import Question
from finemem_pipeline.errors import FinememError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_OPEN, _CLOSE = "<think>", "</think>"
_BOX = "\\boxed{"
_ANSWER = re.compile("answer:", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAMED = re.compile(
    r"\b(?:class|label|category|intent|answer)(?:\W{1,3}(?:number|no|id|is)){0,3}\W{1,4}(\d+)"
    r"(?![.,]?\d|\W{1,3}(?:and|or)\W{1,3}\d)",
    re.IGNORECASE,
)


class MetricError(FinememError):
    """A question cannot be scored the way it asks to be."""


def references(question: Question) -> tuple[str, ...]:
    """The question's answers. Raises MetricError if there are none or one of them is blank."""
    if not question.answers or not all(answer.strip() for answer in question.answers):
        raise MetricError(f"question {question.id}: {question.metric} needs references, found {list(question.answers)}")
    return question.answers


def keywords(question: Question) -> tuple[str, ...]:
    """The question's keywords. Raises MetricError if there are none or one of them is blank."""
    if not question.keywords or not all(keyword.strip() for keyword in question.keywords):
        raise MetricError(f"question {question.id}: keyword_recall needs keywords, found {list(question.keywords)}")
    return question.keywords


def said(prediction: str) -> str:
    """What follows the last thought; nothing if a thought has no end."""
    _, closed, rest = prediction.rpartition(_CLOSE)
    if closed:
        return rest
    return "" if rest.lstrip().startswith(_OPEN) else rest


def said_as_published(prediction: str) -> str:
    """What stands between the first and the second `</think>`; "Empty" if a `<think>` is left in it."""
    _, closed, rest = prediction.partition(_CLOSE)
    kept = rest.partition(_CLOSE)[0].strip() if closed else prediction
    return "Empty" if _OPEN in kept else kept


def normalise_answer(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no a/an/the, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def boxed(text: str) -> str:
    r"""What stands in the first \boxed{}, up to the first closing brace; the whole text where there is none."""
    _, opened, rest = text.partition(_BOX)
    inside, closed, _ = rest.partition("}")
    return inside if opened and closed else text


def parsed(text: str) -> str:
    """The rest of the line after the first "Answer:", else the first line."""
    found = _ANSWER.search(text)
    line = text[found.end() if found else 0 :].partition("\n")[0].strip()
    again = _ANSWER.match(line) if found else None
    return line[again.end() :].strip() if again else line


def label_number(text: str) -> str | None:
    """The one class number that a text names, however worded: "3", "label: 3", "Class 3, as in 2 examples".

    None where it names none or several.
    """
    named = set(_NAMED.findall(text)) or {number for number in _NUMBER.findall(text) if number.isdecimal()}
    return named.pop() if len(named) == 1 else None


def unquoted(text: str) -> str:
    """Without quotation marks around it."""
    return text.strip().strip("\"'").strip()
