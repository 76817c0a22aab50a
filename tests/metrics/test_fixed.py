from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from finemem_pipeline.episodes import Question
from finemem_pipeline.metrics import MetricError, score


def question(metric: str, *answers: str, keywords: tuple[str, ...] = ()) -> Question:
    return Question("q1", "?", answers, metric, keywords=keywords)


@pytest.mark.parametrize(
    ("metric", "prediction", "answers", "expected"),
    [
        ("sub_em", "It was in TURIN, I think.", ["Milan", "Turin"], 1.0),
        ("sub_em", "It was in Tur in", ["Turin"], 0.0),
        ("sub_em", "", ["Turin"], 0.0),
        ("yes_no", "Yes, both are.", ["yes"], 1.0),
        ("yes_no", " **No.** Yes is wrong", ["no"], 1.0),
        ("yes_no", "- yes", ["yes"], 1.0),
        ("yes_no", "I say yes", ["yes"], 0.0),
        ("yes_no", "yesterday", ["yes"], 0.0),
        ("yes_no", "", ["no"], 0.0),
        ("token_f1", "The Eiffel Tower!", ["eiffel tower"], 1.0),
        ("token_f1", "in the year 2022", ["2022", "year 2022"], 0.8),
        ("token_f1", "cat cat cat", ["cat"], 0.5),
        ("token_f1", "dog", ["cat"], 0.0),
        ("token_f1", "the", ["The"], 1.0),
        ("token_f1", "", ["cat"], 0.0),
        ("label_em", " 7\n", ["7"], 1.0),
        ("label_em", "\\boxed{ 7 }", ["7"], 1.0),
        ("label_em", "7.", ["7"], 0.0),
        ("label_em", "17", ["7"], 0.0),
        ("label_em", "It is 7", ["7"], 0.0),
        ("digit_label", "It is 7.", ["7"], 1.0),
        ("digit_label", "label: 7", ["7"], 1.0),
        ("digit_label", "Class 7, as in 2 examples", ["7"], 1.0),
        ("digit_label", "The label number is 7", ["7"], 1.0),
        ("digit_label", "\\boxed{label 7} rather than \\boxed{8}", ["7"], 1.0),
        ("digit_label", "\\boxed{7", ["7"], 1.0),
        ("digit_label", "\\boxed{} 7", ["7"], 0.0),
        ("digit_label", "label 7 or label 8", ["7"], 0.0),
        ("digit_label", "7 or 8", ["7"], 0.0),
        ("digit_label", "7.5", ["7"], 0.0),
        ("digit_label", "label: 7.5", ["7"], 0.0),
        ("digit_label", "17", ["7"], 0.0),
        ("digit_label", "seven", ["7"], 0.0),
        ("digit_label", "", ["7"], 0.0),
        ("perltqa", "TEA in Paris", ["tea; Paris ; cake;"], 2 / 3),
        ("perltqa", "cake", ["tea", "cake"], 1.0),
        ("ruler", "Answer: the U.S.", ["US"], 1.0),
        ("ruler", "the", ["The"], 1.0),
        ("ruler", "a cat", ["The"], 0.0),
        ("ruler", "", ["cat"], 0.0),
        ("event_recall", "He runs; then she waits.", ["she waits", "He runs"], 1.0),
        ("event_recall", "He runs.", ["she waits", "He runs"], 0.0),
        ("exact_match", "The butler.", ["butler"], 1.0),
        ("exact_match", "Well.\nanswer:  Answer: the butler \nSo there.", ["butler"], 1.0),
        ("exact_match", "It was the butler", ["butler"], 0.0),
        ("exact_match", "label: 43", ["43"], 1.0),
        ("exact_match", "label: 43", ["forty-three"], 0.0),
        ("recall_at_5", "1. Up\n2. Heat\n3. Alien\n4. Jaws\n5. Big\n6. Psycho", ["Big", "Psycho"], 0.5),
        ("recall_at_5", "I recommend:\n- **Up** (2009)\n- Heat", ["Up"], 1.0),
        ("recall_at_5", "Nothing", ["Up"], 0.0),
    ],
)
def test_the_rules(metric: str, prediction: str, answers: list[str], expected: float):
    assert score(prediction, question(metric, *answers)) == pytest.approx(expected)


def test_keyword_recall_is_the_share_of_keywords_said():
    asked = question("keyword_recall", "a summary", keywords=("Henry", "engine", "court"))
    assert score("HENRY built an engine", asked) == 2 / 3


def test_only_keywords_make_a_reference_of_perltqa():
    with pytest.raises(MetricError, match="question q1: perltqa needs references with keywords, found ' ; '"):
        score("anything", question("perltqa", " ; "))


def test_no_rule_scores_for_a_judge():
    with pytest.raises(MetricError, match="question q1: judge needs a language model"):
        score("anything", question("judge", "something"))


def test_every_question_of_real_streams_is_answered_right_by_its_own_reference(realbench: Path):
    for name in ("train", "dev", "test"):
        with gzip.open(realbench / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                stream = json.loads(line)
                for asked in (*stream["questions"], *stream.get("chunk_questions", ())):
                    keywords = tuple(asked.get("keywords", ()))
                    about = Question(
                        asked["question_id"], "", tuple(asked["answers"]), asked["metric"], keywords=keywords
                    )
                    assert score(" ".join(keywords) or asked["answers"][0], about) == 1.0
