from __future__ import annotations

import pytest

from finemem_pipeline.episodes import Question
from finemem_pipeline.metrics import METRICS, PUBLISHED, published_score, score


def question(metric: str, *answers: str, keywords: tuple[str, ...] = ()) -> Question:
    return Question("q1", "?", answers, metric, keywords=keywords)


@pytest.mark.parametrize(
    ("metric", "prediction", "answers", "expected"),
    [
        ("sub_em", "in turin", ["Turin", "Milan"], 1.0),
        ("sub_em", "in Milan", ["Turin", "Milan"], 0.0),
        ("yes_no", "Nobody knows.", ["no"], 1.0),
        ("yes_no", "I say yes", ["yes"], 1.0),
        ("digit_label", "7", ["7"], 1.0),
        ("digit_label", " '7' ", ['"7"'], 1.0),
        ("digit_label", "so \\boxed{7}", ["7"], 1.0),
        ("digit_label", "\\boxed{ 7 } or \\boxed{8}", ["7"], 1.0),
        ("digit_label", "\\boxed{8} or \\boxed{7}", ["7"], 0.0),
        ("digit_label", "\\boxed{7", ["7"], 0.0),
        ("digit_label", "\\boxed{}7", ["7"], 0.0),
        ("digit_label", "7.", ["7"], 0.0),
        ("digit_label", "label: 7", ["7"], 0.0),
        ("digit_label", "7", ["8", "7"], 0.0),
        ("digit_label", "seven", ["seven"], 0.0),
        ("perltqa", "Tea in Paris", ["tea;Paris"], 0.0),
        ("perltqa", "tea in paris", ["tea; PARIS "], 1.0),
        ("perltqa", "TEA", ["tea"], 1.0),
        ("perltqa", "nothing", ["tea;"], 0.5),
        ("perltqa", "cake", ["tea", "cake"], 0.0),
        ("ruler", "a dog", ["cat", "the dog"], 1.0),
        ("ruler", "anything", ["the"], 1.0),
        ("event_recall", "He runs.", ["she waits", "He runs"], 1.0),
        ("event_recall", "First.\nHe runs.", ["He runs"], 0.0),
        ("event_recall", "First.\nAnswer: He runs.", ["He runs"], 1.0),
        ("exact_match", "Answer: the butler\nSo there.", ["butler"], 1.0),
        ("exact_match", "\nbutler", ["butler"], 1.0),
        ("exact_match", "\n43", ["43"], 0.0),
        ("exact_match", "label: 43", ["43"], 0.0),
        ("recall_at_5", "1. Up\n2. Heat\n3. Alien\n4. Jaws\n5. Big\n6. Psycho", ["Big", "Psycho"], 0.5),
        ("recall_at_5", "1. Up\n\n2. Heat\n\n3. Alien", ["Up", "Alien"], 1.0),
        ("recall_at_5", "1. Up\n\n2. Heat\n\n3. Alien\n\n4. Jaws", ["Jaws"], 0.0),
        ("recall_at_5", "Up, Heat", ["Heat"], 1.0),
        ("recall_at_5", "1. 12 Angry Men", ["Angry Men"], 1.0),
    ],
)
def test_the_rules_behind_the_published_tables(metric: str, prediction: str, answers: list[str], expected: float):
    assert published_score(prediction, question(metric, *answers)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gold", "keywords", "expected"),
    [
        (("Henry, court",), ("Henry", "court"), 0.5),
        (("Henry,court",), ("Henry", "court"), 0.0),
        (("Henry, , court, ",), ("Henry", "court"), 0.75),
        (("Henry", "court"), ("Henry", "court"), 0.5),
        (("Henry went to court, they say.",), ("Henry", "court"), 0.5),
    ],
    ids=["a list", "no blank behind the comma", "empty keywords", "a list already", "a summary: the fixed rule"],
)
def test_keywords_are_parted_as_the_published_scorer_does(gold: tuple, keywords: tuple, expected: float):
    assert published_score("Henry", question("keyword_recall", *gold, keywords=keywords)) == expected


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("<think>Turin</think> Milan", "Turin", 0.0),
        ("Turin</think> Milan", "Milan", 1.0),
        ("<think>a</think>Turin</think>Milan", "Turin", 1.0),
        ("<think>surely Turin", "Turin", 0.0),
        ("<think>surely Turin", "empty", 1.0),
        ("Turin <think> or not", "Turin", 0.0),
        ("<think>a</think>Turin <think>b", "Turin", 0.0),
    ],
)
def test_thoughts_are_cut_as_the_published_scorer_does(prediction: str, gold: str, expected: float):
    assert published_score(prediction, question("sub_em", gold)) == expected


@pytest.mark.parametrize("metric", sorted(METRICS.keys() - PUBLISHED.keys() - {"judge"}))
def test_where_no_published_scorer_differs_the_fixed_one_counts(metric: str):
    asked = question(metric, "7")
    for prediction in ("7", "<think>7", "label: 7", "\\boxed{7}"):
        assert published_score(prediction, asked) == score(prediction, asked)
