from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.episodes import Question
from finemem_pipeline.metrics import METRICS, MetricError, normalise_answer, score


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
    ],
)
def test_the_metrics_of_realbench(metric: str, prediction: str, answers: list[str], expected: float):
    assert score(prediction, question(metric, *answers)) == pytest.approx(expected)


def test_keyword_recall_is_the_share_of_keywords_said():
    asked = question("keyword_recall", "a summary", keywords=("Henry", "engine", "court"))
    assert score("HENRY built an engine", asked) == 2 / 3


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The  Theatre, an Opera!", "theatre opera"), ("U.S.A.", "usa"), ("a-b the", "ab"), ("", "")],
)
def test_squads_normalisation(text: str, normal: str):
    assert normalise_answer(text) == normal


def test_what_was_thought_is_not_scored():
    assert score("<think>Turin or Milan</think> Milan", question("sub_em", "Turin")) == 0.0
    assert score("Turin or</think> Milan", question("sub_em", "Milan")) == 1.0
    assert score("<think>surely Turin", question("sub_em", "Turin")) == 0.0


def test_an_unknown_metric_is_an_error_with_a_guess():
    with pytest.raises(MetricError, match=r"question q1: 'sub_me' is not a known metric. Did you mean 'sub_em'\?"):
        score("x", question("sub_me", "x"))


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_references_that_cannot_be_used_are_an_error(metric: str):
    with pytest.raises(MetricError, match=f"question q1: {metric} needs"):
        score("anything", question(metric))
    with pytest.raises(MetricError, match=f"question q1: {metric} needs"):
        score("anything", question(metric, "fine", " ", keywords=("fine", "")))


@given(st.sampled_from(sorted(METRICS)), st.text(), st.text(min_size=1).filter(str.strip))
def test_scores_lie_between_0_and_1(metric: str, prediction: str, answer: str):
    assert 0.0 <= score(prediction, question(metric, answer, keywords=(answer, "x"))) <= 1.0


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
