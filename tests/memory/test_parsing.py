from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finemem_pipeline.memory import Delete, Insert, Operation, Skip, Update, format_operations, parse_operations

READABLE = st.text(st.characters(exclude_categories=["Cs"]))
IDS = st.integers(0, 10**6).map("m{}".format)
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Insert, READABLE), st.builds(Update, IDS, READABLE), st.builds(Delete, IDS), st.just(Skip())
)
ANY_TEXT = st.text(st.characters(codec=None))
JUNK_ENTRIES: st.SearchStrategy[object] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), READABLE),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(READABLE, inner, max_size=3)),
    max_leaves=6,
)


def test_the_wire_format_of_all_four_operations():
    reply = (
        '[{"op": "INSERT", "content": "Ada lives in Turin."}, {"op": "UPDATE", "id": "m3", "content": "moved"}, '
        '{"op": "DELETE", "id": "m3"}, {"op": "SKIP"}]'
    )
    operations = (Insert("Ada lives in Turin."), Update("m3", "moved"), Delete("m3"), Skip())
    assert parse_operations(reply).operations == operations
    assert parse_operations(reply).malformed == ()
    assert format_operations(operations) == reply


@pytest.mark.parametrize(
    ("reply", "operations"),
    [
        ("[]", (Skip(),)),
        ("[ \n ]", (Skip(),)),
        ('{"op": "skip"}', (Skip(),)),
        ('{"op": "Delete", "id": 7}', (Delete("m7"),)),
        ('{"op": "DELETE", "id": "7"}', (Delete("m7"),)),
        ('{"op": "DELETE", "id": "M07"}', (Delete("m7"),)),
        ('{"op": "DELETE", "id": "the first one"}', (Delete("the first one"),)),
        ('```json\n[{"op": "INSERT", "content": "a"}]\n```', (Insert("a"),)),
        ('Sure! [{"op": "INSERT", "content": "a"}] Hope this helps.', (Insert("a"),)),
        ('I saw [1] and {x}. [{"op": "INSERT", "content": "a"}] (see [2], ["m1"] and {})', (Insert("a"),)),
        ('First [{"op": "INSERT", "content": "a"}], no: [{"op": "DELETE", "id": "m1"}]', (Delete("m1"),)),
        ('[{"op": "INSERT", "content": "a"}] or rather {"op": "SKIP"}', (Skip(),)),
        ('<think>[{"op": "DELETE", "id": 1}]</think>[{"op": "SKIP"}]', (Skip(),)),
        ('[{"op": "DELETE", "id": 1}] hm</think>\n[{"op": "SKIP"}]', (Skip(),)),
        ('[{"op": "SKIP"}] <think>[{"op": "DELETE", "id": 1}]', (Skip(),)),
        (
            '[{"op": "INSERT", "content": "</think> and [brackets] {\\"op\\"}"}]',
            (Insert('</think> and [brackets] {"op"}'),),
        ),
        ('[{"op": "INSERT", "content": "two\nlines", "why": {"x": ["]"]}}]', (Insert("two\nlines"),)),
        ('[{"op": "INSERT", "content": "a"} {"op": "SKIP"}]', (Insert("a"), Skip())),
        ('[{"op": "INSERT", "content": ""}]', (Insert(""),)),
        ('[{"op": "INSERT", "content": "caf\\u00e9 \\ud83d\\ude00"}]', (Insert("café 😀"),)),
    ],
)
def test_replies_that_are_read_whole(reply: str, operations: tuple[Operation, ...]):
    parsed = parse_operations(reply)
    assert parsed.operations == operations
    assert parsed.malformed == ()


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I will not change anything.",
        "[",
        "{}",
        "[null]",
        '{"content": "a"}',
        '{"op": "INSERT"',
        "<think>[]</think>",
        "<think> hm [] ",
        '[{"op": "SKIP"}] hm</think>',
        "{'op': 'SKIP'}",
        '{"op": ["SKIP"]}',
        '{"op": "INSERT", "content": "he said "[]""}',
        "\ud800",
    ],
)
def test_replies_without_an_operation_are_one_fragment(reply: str):
    parsed = parse_operations(reply)
    assert parsed.operations == ()
    assert len(parsed.malformed) == 1


def test_every_bad_entry_is_one_fragment_and_its_siblings_are_kept():
    parsed = parse_operations(
        '[[], 1, null, "x", {"op": "FLY"}, {"op": "INSERT", "content": "a"}, {"op": "INSERT"}, '
        '{"op": "INSERT", "content": 5}, {"op": "UPDATE", "id": "m1"}, {"op": "DELETE"}, {"op": "DELETE", "id": -1}, '
        '{"op": "DELETE", "id": 1.5}, {"op": "DELETE", "id": true}, {"op": "INSERT", "content": "bad \\escape"}, '
        '{"op": "INSERT", "content": "say "hi""}, {}, {"op": "DELETE", "id": "m1"}]'
    )
    assert parsed.operations == (Insert("a"), Delete("m1"))
    assert len(parsed.malformed) == 15
    assert parsed.malformed[4] == 'unknown op: {"op": "FLY"}'


def test_a_reply_cut_in_the_middle_keeps_the_operations_before_the_cut():
    operations = (Insert("a [b] {c}"), Update("m1", 'she said "no"'), Delete("m2"))
    whole = format_operations(operations)
    ends = [whole.index(", {"), whole.index(', {"op": "DELETE"'), len(whole) - 1]
    for cut in range(ends[0], len(whole) + 1):
        parsed = parse_operations(whole[:cut])
        kept = sum(end <= cut for end in ends)
        assert parsed.operations == operations[:kept]
        inside = "{" in whole[ends[kept - 1] : cut] and kept < 3
        assert len(parsed.malformed) == inside


def test_a_cut_last_list_is_not_replaced_by_an_earlier_one():
    parsed = parse_operations('[{"op": "DELETE", "id": 1}] no: [{"op": "INSERT", "content": "list []')
    assert parsed.operations == ()
    assert len(parsed.malformed) == 1


def test_half_surrogate_pairs_can_be_written_as_utf8():
    parsed = parse_operations('[{"op": "INSERT", "content": "a\\ud800b\ud83d\ude00"}, {"op": "\ud800"}]')
    assert parsed.operations == (Insert("a�b😀"),)
    "".join(parsed.malformed).encode()
    format_operations([Insert("\udfff")]).encode()


@given(st.lists(OPERATIONS, min_size=1))
def test_what_is_written_is_read_back(operations: list[Operation]):
    parsed = parse_operations(format_operations(operations))
    assert parsed.operations == tuple(operations)
    assert parsed.malformed == ()


@given(st.lists(OPERATIONS, min_size=1), READABLE, READABLE)
def test_prose_without_brackets_around_a_list_changes_nothing(operations: list[Operation], before: str, after: str):
    quiet = str.maketrans("", "", "[]{}<")
    reply = before.translate(quiet) + format_operations(operations) + after.translate(quiet)
    assert parse_operations(reply).operations == tuple(operations)


@given(st.lists(st.one_of(OPERATIONS, JUNK_ENTRIES), min_size=1))
def test_every_entry_of_a_json_list_is_one_operation_or_one_fragment(entries: list[object]):
    known = (Insert, Update, Delete, Skip)
    written = [json.loads(format_operations([e]))[0] if isinstance(e, known) else e for e in entries]
    parsed = parse_operations(json.dumps(written))
    if any(isinstance(entry, dict) for entry in written):
        assert parsed.operations == tuple(entry for entry in entries if isinstance(entry, known))
        assert len(parsed.malformed) == len(entries) - len(parsed.operations)


@given(st.one_of(ANY_TEXT, st.text('[]{}",:\\ \n1mtruefals<>/hinkopSKIPINERTcdv', max_size=60)))
@example('[{"a":[')
@example('[{"op":"SKIP"}}]')
@example('[{"op":"SKIP","id":' + "9" * 10_000 + "}]")
def test_any_text_gives_an_operation_or_a_fragment(text: str):
    parsed = parse_operations(text)
    assert parsed.operations or parsed.malformed
    "".join(parsed.malformed).encode()


JUNK = [
    "[", "{", "}", '"', "\\", "[{", '{"', '["', '"[', "[]", "[[],", "[1,", "[{]", '{"a":', '[{"a":[', '[{"a":1,',
    "<think>", "</think>", '{"op":"SKIP"}', '[{"op":"SKIP"},', '[{"op"},{"', '{"op":"INSERT","content":"\\',
    "[[ ] x ", "[ ", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("unit", JUNK, ids=ascii)
def test_a_megabyte_of_junk_takes_linear_time(unit: str):
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        start = time.process_time()
        parse_operations(text)
        return time.process_time() - start

    small, large = min(seconds(125_000) for _ in range(3)), seconds(1_000_000)
    assert large < 5.0
    assert large < 8 * 3 * small + 0.1  # quadratic time would be 64 times as long


def test_an_id_of_a_million_zeros_is_read_in_linear_time():
    text = '[{"op": "DELETE", "id": "m' + "0" * 1_000_000 + 'x"}]'
    started = time.process_time()
    parse_operations(text)
    assert time.process_time() - started < 5


def test_leading_zeros_do_not_make_another_id():
    assert parse_operations('[{"op": "DELETE", "id": "m007"}]').operations == (Delete("m7"),)
    assert parse_operations('[{"op": "DELETE", "id": "m0"}]').operations == (Delete("m0"),)
