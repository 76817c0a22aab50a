from __future__ import annotations

import pytest

from finemem_pipeline.benchmarks.tokens import approximate_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("   ", 0),
        ("The cat sat.", 4),
        ("internationalisation", 3),
        ("1234567", 3),
        ("Wait... what?!", 4),
        ("東京 Zoë", 4),
        ("a\n\nb", 3),
    ],
)
def test_words_numbers_and_marks_are_counted(text: str, tokens: int) -> None:
    assert approximate_tokens(text) == tokens


def test_a_sentence_costs_about_what_gpt_4o_makes_of_it() -> None:
    """32 tokens in o200k."""
    text = (
        "The University of Chicago (UChicago, Chicago, or U of C) is a private research university in Chicago. "
        "The university was established in 1890."
    )
    assert approximate_tokens(text) == 34
