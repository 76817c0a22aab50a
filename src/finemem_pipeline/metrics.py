"""How right a prediction is: one small function per metric, each from 0 to 1.

The rules are those of the realbench streams, which follow Mem-α's scorers. A question whose references do not suit
its metric raises MetricError: scored as 0 it would look like a wrong answer, and an empty reference, which every
text contains, like a right one.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable

from finemem_pipeline.episodes import Question
from finemem_pipeline.errors import FinememError, unknown

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_EDGES = re.compile(r"^\W+|\W+$")
_BOXED = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)


class MetricError(FinememError):
    """A question cannot be scored the way it asks to be."""


def score(prediction: str, question: Question) -> float:
    """s_j in [0, 1] by the question's own metric.

    Only what follows a `</think>` is scored; of a thought that never ends, nothing is. Raises MetricError for a
    metric that is not in METRICS, and for references that the metric cannot use.
    """
    if question.metric not in METRICS:
        raise MetricError(unknown(f"question {question.id}", question.metric, METRICS, "metric"))
    return METRICS[question.metric](_said(prediction), question)


def sub_em(prediction: str, question: Question) -> float:
    """1 if any reference occurs in the prediction, both lower-cased."""
    said = prediction.lower()
    return float(any(answer.lower() in said for answer in _references(question)))


def yes_no(prediction: str, question: Question) -> float:
    """1 if the first word of the prediction, lower-cased and without punctuation around it, is the answer."""
    words = (_EDGES.sub("", word) for word in prediction.lower().split())
    first = next((word for word in words if word), "")
    return float(first in {answer.strip().lower() for answer in _references(question)})


def token_f1(prediction: str, question: Question) -> float:
    """F1 of the normalised words, as in SQuAD's evaluation script, the best over the references."""
    return max(_f1(prediction, answer) for answer in _references(question))


def label_em(prediction: str, question: Question) -> float:
    r"""1 if the prediction, stripped and taken out of a \boxed{} around it, is exactly a reference."""
    said = prediction.strip()
    boxed = _BOXED.fullmatch(said)
    said = boxed[1].strip() if boxed else said
    return float(said in {answer.strip() for answer in _references(question)})


def keyword_recall(prediction: str, question: Question) -> float:
    """The share of the question's keywords that occur in the prediction, both lower-cased."""
    if not question.keywords or not all(keyword.strip() for keyword in question.keywords):
        raise MetricError(f"question {question.id}: keyword_recall needs keywords, found {list(question.keywords)}")
    said = prediction.lower()
    return sum(keyword.lower() in said for keyword in question.keywords) / len(question.keywords)


METRICS: dict[str, Callable[[str, Question], float]] = {
    "sub_em": sub_em,
    "yes_no": yes_no,
    "token_f1": token_f1,
    "label_em": label_em,
    "keyword_recall": keyword_recall,
}


def normalise_answer(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no a/an/the, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _f1(prediction: str, answer: str) -> float:
    """Where the reference is nothing but articles and punctuation, the reply must say just that: an empty one would
    look right otherwise."""
    said, wanted = normalise_answer(prediction).split(), normalise_answer(answer).split()
    if not wanted:
        return float(prediction.strip().lower() == answer.strip().lower())
    same = sum((Counter(said) & Counter(wanted)).values())
    return 2 * same / (len(said) + len(wanted))


def _references(question: Question) -> tuple[str, ...]:
    if not question.answers or not all(answer.strip() for answer in question.answers):
        raise MetricError(f"question {question.id}: {question.metric} needs references, found {list(question.answers)}")
    return question.answers


def _said(prediction: str) -> str:
    _, closed, rest = prediction.rpartition("</think>")
    if closed:
        return rest
    return "" if rest.lstrip().startswith("<think>") else rest
