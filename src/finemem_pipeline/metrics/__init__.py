"""How right a prediction is, from 0 to 1, under two faces.

`METRICS` is the fixed face: the rules we score by. `PUBLISHED` holds, for the names whose scorer behind the published
tables differs, that scorer with its faults. docs/reference/scorers.md has both in one table.

A question whose references do not suit its metric raises MetricError: scored as 0 it would look like a wrong answer,
and an empty reference, which every text contains, like a right one. No prediction raises anything; each is read in
time proportional to its length.
"""

from __future__ import annotations

from collections.abc import Callable

from finemem_pipeline.episodes import Question
from finemem_pipeline.errors import unknown
from finemem_pipeline.metrics import fixed, published
from finemem_pipeline.metrics.texts import MetricError, normalise_answer, said, said_as_published

__all__ = ["JUDGE", "METRICS", "PUBLISHED", "MetricError", "normalise_answer", "published_score", "said", "score"]

JUDGE = "judge"
"""The metric that only a language model can score, `reasoning.judge`."""

METRICS: dict[str, Callable[[str, Question], float]] = {
    "sub_em": fixed.sub_em,
    "yes_no": fixed.yes_no,
    "token_f1": fixed.token_f1,
    "label_em": fixed.label_em,
    "digit_label": fixed.digit_label,
    "keyword_recall": fixed.keyword_recall,
    "perltqa": fixed.perltqa,
    "ruler": fixed.ruler,
    "event_recall": fixed.event_recall,
    "exact_match": fixed.exact_match,
    "recall_at_5": fixed.recall_at_5,
    JUDGE: fixed.judge,
}

PUBLISHED: dict[str, Callable[[str, Question], float]] = {
    "sub_em": published.sub_em,
    "yes_no": published.sub_em,
    "digit_label": published.digit_label,
    "keyword_recall": published.keyword_recall,
    "perltqa": published.perltqa,
    "ruler": published.ruler,
    "event_recall": published.event_recall,
    "exact_match": published.exact_match,
    "recall_at_5": published.recall_at_5,
}


def score(prediction: str, question: Question) -> float:
    """s_j in [0, 1] by the question's own metric, fixed face.

    Only what follows the last `</think>` is scored; of a thought that never ends, nothing is. Raises MetricError for
    a metric that is not in METRICS, for one that needs a judge, and for references that the metric cannot use.
    """
    return _rule(METRICS, question)(said(prediction), question)


def published_score(prediction: str, question: Question) -> float:
    """What the scorers behind the published tables make of it; the fixed score where they do not differ.

    What follows the first `</think>`, up to a second one, is scored; a thought that never ends is scored as the word
    "Empty". Raises as `score` does.
    """
    if question.metric in PUBLISHED:
        return PUBLISHED[question.metric](said_as_published(prediction), question)
    return score(prediction, question)


def _rule(table: dict[str, Callable[[str, Question], float]], question: Question) -> Callable[[str, Question], float]:
    if question.metric not in table:
        raise MetricError(unknown(f"question {question.id}", question.metric, table, "metric"))
    return table[question.metric]
