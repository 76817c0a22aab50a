from __future__ import annotations

import pytest

from finemem_pipeline.metrics.texts import boxed, label_number, normalise_answer, parsed, said, said_as_published


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The  Theatre, an Opera!", "theatre opera"), ("U.S.A.", "usa"), ("a-b the", "ab"), ("", "")],
)
def test_squads_normalisation(text: str, normal: str):
    assert normalise_answer(text) == normal


@pytest.mark.parametrize(
    ("text", "last", "first"),
    [
        ("Turin", "Turin", "Turin"),
        ("<think>x</think> Turin ", " Turin ", "Turin"),
        ("x</think>Turin</think>Milan", "Milan", "Turin"),
        ("<think>x", "", "Empty"),
        ("Turin <think>", "Turin <think>", "Empty"),
        ("", "", ""),
    ],
)
def test_what_is_left_of_a_thought(text: str, last: str, first: str):
    assert (said(text), said_as_published(text)) == (last, first)


@pytest.mark.parametrize(
    ("text", "inside"),
    [("so \\boxed{7}.", "7"), ("\\boxed{a{b}c}", "a{b"), ("\\boxed{7", "\\boxed{7"), ("7", "7"), ("\\boxed{}", "")],
)
def test_what_stands_in_a_box(text: str, inside: str):
    assert boxed(text) == inside


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Turin\nor Milan", "Turin"),
        ("I think.\nANSWER: Turin \nor", "Turin"),
        ("Answer: answer: Turin", "Turin"),
        ("Answer:\nTurin", ""),
        ("\nTurin", ""),
        ("", ""),
    ],
)
def test_the_answer_is_parsed_out_of_a_reply(text: str, answer: str):
    assert parsed(text) == answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", "7"),
        ("7 and 7", "7"),
        ("Class no. 7 (2 examples)", "7"),
        ("label:7, 3 times", "7"),
        ("The answer is 12.", "12"),
        ("labels: 7", "7"),
        ("label 7 or 8", None),
        ("class 7, class 8", None),
        ("7, 8", None),
        ("7.5", None),
        ("none", None),
    ],
)
def test_a_reply_names_one_class_number_or_none(text: str, number: str | None):
    assert label_number(text) == number
