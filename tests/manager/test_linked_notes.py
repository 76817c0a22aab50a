from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.manager.linked_notes import LinkedNotesStyle, Note, notes_in, read_note
from finemem_pipeline.manager.play import play
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25


def count_words(text: str) -> int:
    return len(text.split())


def written(*notes: tuple[str, str]) -> str:
    return json.dumps([{"content": content, "keywords": words.split()} for content, words in notes])


KEY, LOST = ("Ann has the red key.", "Ann key"), ("The red key is lost.", "key")


def steps(stream, *replies, **sizes):
    generator = ScriptedGenerator(replies)
    manager = LinkedNotesStyle(generator, Sampling(), count_words, BM25(), **sizes)
    [group] = play([stream("one", "two")], manager, Reader(BM25(), ExtractiveReasoner()), count_words)
    return group.rollouts[0].steps


def texts(step) -> list[tuple[str, str]]:
    return [(item.id, item.text) for item in step.bank.items]


@pytest.mark.parametrize(
    ("reply", "notes"),
    [
        ('[{"content": "a", "keywords": ["x", "y; (z)", 3, "x"]}]', [Note("a", ("x", "y z"))]),
        ('[{"content": "a", "keywords": "x, y"}]', [Note("a", ("x", "y"))]),
        ('["a", {"content": " "}, {"keywords": ["x"]}]', [Note("a")]),
        ('[{"content": "a"}, {"content": "b"}, {"cont', [Note("a"), Note("b")]),
        ('{"content": "a"}', [Note("a")]),
        ("[]", []),
        ("a", None),
        ("[1]", None),
        ("", None),
    ],
)
def test_notes_are_read_from_many_kinds_of_lists(reply, notes):
    assert notes_in(reply) == notes


WORDS = st.text(alphabet="ab 記:", min_size=1, max_size=5).map(str.strip).filter(bool)


@given(st.text(), st.lists(WORDS, max_size=3), st.lists(st.integers(1, 99).map("m{}".format), max_size=3))
def test_a_note_reads_back_from_the_text_of_its_item(content, keywords, links):
    note = Note(content, tuple(keywords), tuple(links))
    assert read_note(str(note)) == note


def test_a_text_that_is_no_note_is_its_content():
    assert read_note("Ann has a key.") == Note("Ann has a key.")


def test_a_link_stands_in_both_notes_and_keywords_can_change(stream):
    first, second = steps(
        stream, written(KEY), written(LOST), '{"links": ["m1", "m7"], "keywords": {"m1": ["Ann", "lost"], "m8": ["x"]}}'
    )
    assert texts(first) == [("m1", "note (keywords: Ann, key; links: ): Ann has the red key.")]
    assert texts(second) == [
        ("m1", "note (keywords: Ann, lost; links: m2): Ann has the red key."),
        ("m2", "note (keywords: key; links: m1): The red key is lost."),
    ]


def test_two_notes_that_change_the_same_one_both_count(stream):
    _, second = steps(
        stream,
        written(KEY),
        written(LOST, ("Bob saw the red key.", "Bob")),
        '{"links": ["m1"]}',
        '{"links": ["m1"], "keywords": {"m1": ["seen"]}}',
    )
    assert dict(texts(second))["m1"] == "note (keywords: seen; links: m2, m3): Ann has the red key."
    assert [type(each.operation).__name__ for each in second.operations] == ["Insert", "Insert", "Update"]


@pytest.mark.parametrize("reply", ["", "m1", "[]", '{"linked": ["m1"]}', '{"links'])
def test_a_reply_that_cannot_be_read_leaves_the_note_without_links(stream, reply):
    _, second = steps(stream, written(KEY), written(LOST), reply)
    assert texts(second)[1] == ("m2", "note (keywords: key; links: ): The red key is lost.")
    assert len(second.malformed) == 1


@pytest.mark.parametrize("reply", ['{"links": []}', '{"links": "m1", "keywords": []}', '{"links": [["m1"]]}'])
def test_a_note_may_stay_alone(stream, reply):
    _, second = steps(stream, written(KEY), written(LOST), reply)
    assert read_note(second.bank.items[1].text).links == ()
    assert second.malformed == ()


def test_a_note_that_resembles_no_other_is_not_asked_about(stream):
    _, second = steps(stream, written(KEY), written(("It rained.", "rain")))
    assert len(second.bank) == 2


def test_of_many_links_the_newest_are_kept(stream):
    many = [(f"The red key was seen on day {n}.", "day") for n in range(12)]
    _, second = steps(stream, written(KEY), written(*many), *['{"links": ["m1"]}'] * 12, most=12)
    assert read_note(second.bank.items[0].text).links == tuple(f"m{n}" for n in range(4, 14))
