from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.reasoning.labels import asks_for_label, item_of, labelled_examples, searched

QUESTION = "Query: put on some jazz\nWhich class number does this query get? Answer with the number only."


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (QUESTION, True),
        ("Sentence: We study x.\nWhich class number was given to this sentence?", True),
        ("Which category id belongs to this?", True),
        ("What is the number of Ann's badge?", False),
        ("Which record label signed them in 1990?", False),
        ("What class of ship was it?", False),
    ],
)
def test_label_questions_are_told_from_others(question: str, expected: bool):
    assert asks_for_label(question) is expected


@pytest.mark.parametrize(
    ("question", "item"),
    [
        (QUESTION, "put on some jazz"),
        ('Which class number does "put on some jazz" get?', "put on some jazz"),
        ("Query: put on some jazz. Which class number?", "put on some jazz. Which class number?"),
        ("Which class number?\nAnswer with the number only.", "Which class number?\nAnswer with the number only."),
    ],
)
def test_the_item_is_taken_out_of_its_question(question: str, item: str):
    assert item_of(question) == item


def test_other_questions_are_searched_for_as_they_are():
    assert searched("Who has\nthe key?") == "Who has\nthe key?"
    assert searched(QUESTION) == "put on some jazz"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Query: play jazz\nClass: 22", (("play jazz", "22"),)),
        ("Query: play jazz\nClass: 22\nQuery: call a cab\nClass: 1", (("play jazz", "22"), ("call a cab", "1"))),
        ("play jazz -> 22", (("play jazz", "22"),)),
        ("play jazz → 22", (("play jazz", "22"),)),
        ("Query: play jazz => class 22", (("play jazz", "22"),)),
        ("- play jazz (class 22)", (("play jazz", "22"),)),
        ("play jazz: 22", (("play jazz", "22"),)),
        ("play jazz -> 22; call a cab -> 1", (("play jazz", "22"), ("call a cab", "1"))),
        ("Query: play jazz Class: 22 Query: call a cab Class: 1", (("play jazz", "22"), ("call a cab", "1"))),
        ("Class 22: play jazz, play rock", (("play jazz, play rock", "22"),)),
        ("22 = play jazz", (("play jazz", "22"),)),
        (
            "Sample: To assess pain.\nLabels: 3\n\nSample: Ten died.\nLabels: 4",
            (("To assess pain.", "3"), ("Ten died.", "4")),
        ),
        ("Class: 22", ()),
        ("It rained in 1922.", ()),
        ("The meeting is at 10:30 in the hall.", ()),
        ("", ()),
    ],
)
def test_examples_are_found_however_they_were_noted(text: str, expected: tuple[tuple[str, str], ...]):
    assert labelled_examples(text) == expected


@given(st.text(alphabet="ab1 :=->\n;(class)→", max_size=200))
def test_any_text_can_be_read_and_labels_are_numbers(text: str):
    assert all(label.isdigit() and example for example, label in labelled_examples(text))


@pytest.mark.parametrize("piece", ["class ", "a -> ", "= ", "( ", "1", " ", "-", "Query: a ", "class:::"])
def test_reading_takes_time_in_proportion_to_the_text(piece: str):
    begin = time.process_time()  # a quadratic pattern takes minutes
    labelled_examples(piece * (100_000 // len(piece)))
    assert time.process_time() - begin < 5.0
