from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.questions import ClozeWriter, Draft


def drafts(text: str, count: int = 10) -> list[Draft]:
    [written] = ClozeWriter().write([text], count)
    assert written.malformed == 0
    return list(written.found)


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("Maria's locker code is 4821.", "Complete: Maria's locker code is ____.", "4821"),
        ("The exam of Hugo is on March 14.", "Complete: The exam of Hugo is on ____.", "March 14"),
        ("The talks began on 3 May 1998 in Geneva.", "Complete: The talks began on ____ in Geneva.", "3 May 1998"),
        ("The last train leaves at 06:20.", "Complete: The last train leaves at ____.", "06:20"),
        ("The city has 520,159 people in it.", "Complete: The city has ____ people in it.", "520,159"),
        (
            "The station is named after Leeds United fans.",
            "Complete: The station is named after ____ fans.",
            "Leeds United",
        ),
    ],
)
def test_the_most_telling_span_is_left_out(sentence: str, question: str, answer: str) -> None:
    assert drafts(sentence, 1) == [Draft(question, answer)]


@pytest.mark.parametrize(
    "sentence",
    [
        "In the year 1998 he was born, in 1998.",  # the answer stands elsewhere
        "[Session 2025-01-06 at 09:00 in Paris]",
        "User: Please save what matters from Paris.",
        "Class: 7 and then some more words",
        "He was born there in 1934.",  # who?
        "When was the city of Rome founded?",
        "Founded in 1998.",  # too short to be found again
        "Nothing here is a name or a figure.",
    ],
)
def test_sentences_without_a_good_gap_are_passed_over(sentence: str) -> None:
    assert drafts(sentence) == []


def test_gaps_are_spread_over_the_text_before_a_sentence_is_used_twice() -> None:
    text = "\n".join(f"The code of box {i + 50} at home is {4000 + i}." for i in range(10))
    assert [draft.answer for draft in drafts(text, 4)] == ["4000", "4002", "4005", "4007"]
    assert [draft.answer for draft in drafts(text, 11)][10:] == ["50"]


@given(st.text(), st.integers(0, 6))
def test_any_text_is_survived_and_the_same_text_gives_the_same_drafts(text: str, count: int) -> None:
    found = drafts(text, count)
    assert len(found) <= count
    assert found == drafts(text, count)


@given(st.text(st.sampled_from("AbC1 25:.,\nMay "), max_size=80))
def test_a_gap_is_filled_by_its_answer_alone(text: str) -> None:
    for draft in drafts(text):
        sentence = draft.question.removeprefix("Complete: ")
        assert sentence.replace("____", draft.answer) in text
        assert draft.answer.lower() not in sentence.lower()
