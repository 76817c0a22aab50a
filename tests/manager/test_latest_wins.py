from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.manager.latest_wins import LatestWins, Statement, statement
from finemem_pipeline.manager.play import play
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25


def memory(stream, *chunks: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """Ids, texts and writes after the last chunk."""
    [group] = play([stream(*chunks)], LatestWins(), Reader(BM25(), ExtractiveReasoner()), len)
    [rollout] = group.rollouts
    assert not any(step.malformed or any(each.refused for each in step.operations) for step in rollout.steps)
    return [(item.id, item.text, item.writes) for item in rollout.steps[-1].bank.items]


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("The capital of Lithuania is Vilnius.", "the capital of lithuania is"),
        ("rugby was created in the country of England.", "rugby was created in the country of"),
        ("- Linda McMahon is a citizen of United States of America.", "linda mcmahon is a citizen of"),
        ("The director of Madonna is Tony Hall, Baron Hall of Birkenhead.", "the director of madonna is"),
        ("Nowhere Man was performed by The Beatles.", "nowhere man was performed by"),
        ("David Beckham plays the position of midfielder.", "david beckham plays the position of"),
        ("midfielder is associated with the sport of association football.",
         "midfielder is associated with the sport of"),
        ("The type of music that Queen plays is rock.", "the type of music that queen plays is"),
        ("Ann's locker code is 4711.", "ann's locker code is"),
        ("Ernest Hemingway died in the city of Ketchum.", "ernest hemingway died in the city of"),
        ("Is Ann in Turin?", None),
        ("It is late in May.", None),
        ("There was a man of Turin.", None),
        ("She was born in Turin.", None),
        ("Ann laughed out loud.", None),
        ("Yes.", None),
        ("", None),
        ("Query: where is my card\nClass: 22", None),
        ("Ann is " + "very " * 40 + "tired.", None),
    ],
)  # fmt: skip
def test_the_leading_words_tell_what_a_statement_is_about(text, about):
    assert statement(text).about == about


@pytest.mark.parametrize(
    ("text", "serial"), [("17. Ann is in Turin.", 17), ("3) Ann is in Turin.", 3), ("Ann is in Turin.", None)]
)
def test_a_serial_number_is_no_part_of_what_a_statement_is_about(text, serial):
    assert statement(text) == Statement("ann is in", serial)


def test_a_later_statement_takes_the_item_of_the_older_one(stream):
    assert memory(stream, "Ann is in Turin. It rained.", "Ann is in Rome.") == [
        ("m1", "Ann is in Rome.", (0, 1)),
        ("m2", "It rained.", (0,)),
    ]


def test_within_a_chunk_the_last_statement_is_written_alone(stream):
    assert memory(stream, "Ann is in Turin. Bob is in Bari. Ann is in Rome.") == [
        ("m1", "Ann is in Rome.", (0,)),
        ("m2", "Bob is in Bari.", (0,)),
    ]


def test_the_larger_serial_number_wins_whatever_came_last(stream):
    assert memory(stream, "7. Ann is in Rome. 3. Ann is in Turin.", "5. Ann is in Bari.") == [
        ("m1", "7. Ann is in Rome.", (0,))
    ]
    assert memory(stream, "7. Ann is in Rome.", "9. Ann is in Bari.") == [("m1", "9. Ann is in Bari.", (0, 1))]


def test_what_stands_in_the_memory_is_not_written_again(stream):
    assert memory(stream, "It rained. It rained. Ann is in Rome.", "Ann is in Rome. It rained.") == [
        ("m1", "It rained.", (0,)),
        ("m2", "Ann is in Rome.", (0,)),
    ]


def test_labelled_examples_are_all_kept(stream):
    chunk = "Query: where is my card\nClass: 22\nQuery: where is my cat\nClass: 7"
    assert [text for _, text, _ in memory(stream, chunk)] == [
        "Query: where is my card\nClass: 22",
        "Query: where is my cat\nClass: 7",
    ]


def test_an_empty_chunk_is_skipped(stream):
    assert memory(stream, " \n", "記憶") == [("m1", "記憶", (1,))]


SAID = st.sampled_from(
    ["Ann is in {}.", "The key of Ann was {}.", "It is {}.", "{}", "7. Ann is in {}.", "9. Ann is in {}."]
)
CHUNKS = st.lists(st.builds(str.format, SAID, st.sampled_from(["Rome", "red", "Ünï 記"])), max_size=5).map(" ".join)


@given(st.lists(CHUNKS, min_size=1, max_size=4))
def test_no_two_items_are_about_the_same_thing_or_say_the_same(chunks):
    episode = Episode("e", "made", "CR", tuple(Chunk(t, text) for t, text in enumerate(chunks)), ())
    [group] = play([episode], LatestWins(), Reader(BM25(), ExtractiveReasoner()), len)
    for step in group.rollouts[0].steps:
        texts = [item.text for item in step.bank.items]
        about = [said for text in texts if (said := statement(text).about)]
        assert len(set(about)) == len(about)
        assert len(set(texts)) == len(texts)


@given(st.text(max_size=60))
def test_any_text_is_a_statement_or_none(text):
    assert statement(text).about != ""
