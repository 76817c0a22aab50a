from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.manager.replies import clean, first_tokens, last_tokens, line, spoken, values, written
from finemem_pipeline.memory import Delete, Insert, Skip, Update, parse_operations


def count_words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (" Ann. ", "Ann."),
        ("<think>Bob?</think> Ann.", "Ann."),
        ("so it is Bob?</think>Ann.", "Ann."),
        ("<think>Bob? And so on", ""),
        ("Ann. <think>or", "Ann."),
        ("", ""),
    ],
)
def test_what_was_thought_is_not_said(reply, said):
    assert spoken(reply) == said


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('Here: ["a", 1] and {"b": [2]}.', [["a", 1], {"b": [2]}]),
        ('```json\n[{"a": 1}, {"b": 2}, {"c"', [{"a": 1}, {"b": 2}]),
        ("[[[[", []),
        ("no", []),
        ('["line\nbreak"]', [["line\nbreak"]]),
    ],
)
def test_lists_and_objects_are_found_wherever_they_stand(said, found):
    assert list(values(said)) == found


def test_a_reply_of_brackets_alone_is_no_error():
    assert list(values("[" * 20_000)) == []
    assert list(values('{"a":' * 5_000)) == []


def test_half_a_character_can_be_counted_and_saved():
    assert clean("a\ud83d\ude00b\ud800c") == "a😀b\ufffdc"
    clean("\udfff").encode()


def test_a_text_on_one_line():
    assert line(" a\n\n b\t c ") == "a b c"


@pytest.mark.parametrize(
    ("limit", "begin", "end"), [(9, "one two  three", "one two  three"), (2, "one two", "two  three"), (0, "", "")]
)
def test_a_text_is_cut_between_words(limit, begin, end):
    assert first_tokens("one two  three", limit, count_words) == begin
    assert last_tokens("one two  three", limit, count_words) == end


def test_a_text_without_spaces_is_cut_anywhere():
    assert first_tokens("記憶管理者", 2, len) == "記憶"
    assert last_tokens("記憶管理者", 2, len) == "理者"


@given(st.text(alphabet="ab \n記", max_size=40), st.integers(0, 45))
def test_a_cut_is_an_end_of_the_text_within_the_limit(text, limit):
    for counted in (len, lambda text: len(text.split())):
        begin, end = first_tokens(text, limit, counted), last_tokens(text, limit, counted)
        assert text.startswith(begin)
        assert text.endswith(end)
        assert counted(begin) <= limit
        assert counted(end) <= limit
        if counted(text) <= limit:
            assert begin == end == text


OPERATIONS = st.one_of(
    st.builds(Insert, st.text()),
    st.builds(Update, st.just("m1"), st.text()),
    st.builds(Delete, st.just("m2")),
    st.just(Skip()),
)


@given(st.lists(OPERATIONS, max_size=4), st.lists(st.text(), max_size=3))
def test_what_is_written_reads_back_with_one_fragment_for_each_unread_reply(operations, unread):
    parsed = parse_operations(written(operations, unread).text)
    expected = operations if operations or unread else [Skip()]
    assert list(parsed.operations) == expected
    assert len(parsed.malformed) == len(unread)


def test_an_unread_reply_can_be_recognised_in_the_record():
    [fragment] = parse_operations(written([], ["I see."]).text).malformed
    assert fragment == 'no op: {"unread": "I see."}'
