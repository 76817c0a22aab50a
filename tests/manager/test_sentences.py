from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.manager.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann has a key. Bob left.", ["Ann has a key.", "Bob left."]),
        ("Did it rain? Yes! 40 days.", ["Did it rain?", "Yes!", "40 days."]),
        ("one line\n\n  another  ", ["one line", "another"]),
        ('He said "go." "Now?" she asked.', ['He said "go."', '"Now?" she asked.']),
        ("It costs 3.50 euros. ok", ["It costs 3.50 euros. ok"]),
        (
            "Query: play jazz\nClass: 22\nQuery: taxi\nclass: 10",
            ["Query: play jazz\nClass: 22", "Query: taxi\nclass: 10"],
        ),
        ("Class: 22", ["Class: 22"]),
        ("0. Ann has a key. 1. Bob left.\n12) It rained.", ["0. Ann has a key.", "1. Bob left.", "12) It rained."]),
        ("It was 1986. Then it rained.", ["It was 1986.", "Then it rained."]),
        ("", []),
    ],
)
def test_a_text_is_cut_at_its_sentence_ends_and_lines(text, expected):
    assert sentences(text) == expected


@given(st.text(alphabet='aA1. !?"\n', max_size=80))
def test_no_character_is_lost_or_invented(text):
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
