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
        ("Sentence: We study x.\nWhat are the labels for the above medical abstract sentence?", True),
        ("Apply the stored rules. Put the number of the label in \\boxed{}.\nQuestion: call a cab", True),
        ("Map the context to a numerical label.\n\ncall a cab", True),
        ("call a cab\nlabel:", True),
        ("call a cab\nLabels: ", True),
        ("What does the label: say?", False),
        ("To which category of this award was he nominated?", False),
        ("What is the label of his first album?", False),
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
        ("call a cab\nlabel:", "call a cab"),
        ("Sentence: We study x.\nWhat are the labels for the above sentence? Use \\boxed{}.", "We study x."),
        ("Apply what you know.\nPut the label number in \\boxed{}.\nQuestion: call\na cab\nlabel:", "call a cab"),
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
        ("Sample: play jazz\nLabels: 22\n\nSample: a cab\nLabels: 1", (("play jazz", "22"), ("a cab", "1"))),
        ("play jazz\nlabel: 22\ncall a cab\nlabel: 1", (("play jazz", "22"), ("call a cab", "1"))),
        ("[Dialogue between User and Assistant on 2024-01-01 10:00]\nplay jazz\nlabel: 22", (("play jazz", "22"),)),
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


@pytest.mark.parametrize("piece", ["label \\box", "\\boxed{", "labels of ", "\nlabel: ", " "])
def test_telling_label_questions_takes_time_in_proportion_to_the_question(piece: str):
    begin = time.process_time()
    asks_for_label(piece * (1_000_000 // len(piece)))
    assert time.process_time() - begin < 5.0


@pytest.mark.parametrize("piece", ["class ", "a -> ", "= ", "( ", "1", " ", "-", "Query: a ", "class:::"])
def test_reading_takes_time_in_proportion_to_the_text(piece: str):
    begin = time.process_time()  # a quadratic pattern takes minutes
    labelled_examples(piece * (100_000 // len(piece)))
    assert time.process_time() - begin < 5.0
