"""The rules we score by: one small function per metric.

Where several references are given any of them will do, unless the rule says otherwise.
"""

from __future__ import annotations

import re
from collections import Counter

from finemem_pipeline.episodes import Question
from finemem_pipeline.metrics.texts import (
    MetricError,
    boxed,
    keywords,
    label_number,
    normalise_answer,
    parsed,
    references,
    unquoted,
)
from finemem_pipeline.metrics.titles import listed, same_title

_AROUND = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)
_WORDLIKE = re.compile(r"\w")


def sub_em(prediction: str, question: Question) -> float:
    """1 if any reference occurs in the prediction, both lower-cased."""
    said = prediction.lower()
    return float(any(answer.lower() in said for answer in references(question)))


def yes_no(prediction: str, question: Question) -> float:
    """1 if the first word of the prediction, lower-cased and without punctuation around it, is the answer."""
    words = (_core(word) for word in prediction.lower().split())
    first = next((word for word in words if word), "")
    return float(first in {answer.strip().lower() for answer in references(question)})


def token_f1(prediction: str, question: Question) -> float:
    """F1 of the normalised words, as in SQuAD's evaluation script, the best over the references."""
    return max(_f1(prediction, answer) for answer in references(question))


def label_em(prediction: str, question: Question) -> float:
    r"""1 if the prediction, stripped and taken out of a \boxed{} around it, is exactly a reference."""
    said = prediction.strip()
    around = _AROUND.fullmatch(said)
    said = around[1].strip() if around else said
    return float(said in {answer.strip() for answer in references(question)})


def digit_label(prediction: str, question: Question) -> float:
    r"""1 if what stands in the first \boxed{}, or else the whole prediction, is a reference, or names it as its one
    class number: "3", "label: 3", "The answer is 3."
    """
    inside = unquoted(boxed(prediction))
    return float(bool({inside, label_number(inside)} & {unquoted(answer) for answer in references(question)}))


def keyword_recall(prediction: str, question: Question) -> float:
    """The share of the question's keywords that occur in the prediction, both lower-cased."""
    said = prediction.lower()
    wanted = keywords(question)
    return sum(keyword.lower() in said for keyword in wanted) / len(wanted)


def perltqa(prediction: str, question: Question) -> float:
    """The share of a reference's keywords, parted by ';', that occur in the prediction, both lower-cased."""
    said = prediction.lower()

    def share(answer: str) -> float:
        wanted = [keyword.strip().lower() for keyword in answer.split(";") if keyword.strip()]
        if not wanted:
            raise MetricError(f"question {question.id}: perltqa needs references with keywords, found {answer!r}")
        return sum(keyword in said for keyword in wanted) / len(wanted)

    return max(share(answer) for answer in references(question))


def ruler(prediction: str, question: Question) -> float:
    """1 if a normalised reference occurs in the normalised prediction, or in the answer parsed out of it."""
    heard = [prediction, parsed(prediction)]
    return float(any(_holds(text, answer) for text in heard for answer in references(question)))


def event_recall(prediction: str, question: Question) -> float:
    """1 if all references, normalised, occur in the normalised prediction, or in the answer parsed out of it."""
    heard = [prediction, parsed(prediction)]
    return float(any(all(_holds(text, answer) for answer in references(question)) for text in heard))


def exact_match(prediction: str, question: Question) -> float:
    """1 if a normalised reference is the normalised prediction, or the answer parsed out of it; a class number may be
    worded as in `digit_label`.
    """
    wanted = references(question)
    if all(unquoted(answer).isdecimal() for answer in wanted) and digit_label(prediction, question):
        return 1.0
    return float(any(_equal(text, answer) for text in (prediction, parsed(prediction)) for answer in wanted))


def recall_at_5(prediction: str, question: Question) -> float:
    """The share of the reference titles that are among the first five of the prediction."""
    said = listed(prediction)[:5]
    wanted = references(question)
    return sum(any(same_title(title, one) for one in said) for title in wanted) / len(wanted)


def judge(prediction: str, question: Question) -> float:
    """Raises MetricError: no rule can tell."""
    raise MetricError(f"question {question.id}: judge needs a language model: score it through a reader with a judge")


def _core(word: str) -> str:
    """A word without the punctuation around it."""
    first = _WORDLIKE.search(word)
    last = _WORDLIKE.search(word[::-1])
    return word[first.start() : len(word) - last.start()] if first and last else ""


def _f1(prediction: str, answer: str) -> float:
    """Where the reference is nothing but articles and punctuation, the reply must say just that: an empty one would
    look right otherwise."""
    said, wanted = normalise_answer(prediction).split(), normalise_answer(answer).split()
    if not wanted:
        return float(_literally(prediction, answer))
    same = sum((Counter(said) & Counter(wanted)).values())
    return 2 * same / (len(said) + len(wanted))


def _holds(text: str, answer: str) -> bool:
    """As in `_f1`, a reference of which the normalisation leaves nothing must be the whole text."""
    wanted = normalise_answer(answer)
    return wanted in normalise_answer(text) if wanted else _literally(text, answer)


def _equal(text: str, answer: str) -> bool:
    wanted = normalise_answer(answer)
    return wanted == normalise_answer(text) if wanted else _literally(text, answer)


def _literally(text: str, answer: str) -> bool:
    return text.strip().lower() == answer.strip().lower()
