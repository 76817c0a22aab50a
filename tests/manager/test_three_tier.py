from __future__ import annotations

import json

import pytest

from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.three_tier import ThreeTierStyle, split
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25


def count_words(text: str) -> int:
    return len(text.split())


def insert(text: str) -> dict:
    return {"op": "INSERT", "content": text}


def update(item_id: str, text: str) -> dict:
    return {"op": "UPDATE", "id": item_id, "content": text}


def steps(stream, *replies, **sizes):
    generator = ScriptedGenerator([json.dumps(reply) for reply in replies])
    manager = ThreeTierStyle(generator, Sampling(), count_words, **sizes)
    episode = stream(*(f"part {n}" for n in range(len(replies))))
    [group] = play([episode], manager, Reader(BM25(), ExtractiveReasoner()), count_words)
    return group.rollouts[0].steps, generator


def texts(step) -> list[tuple[str, str]]:
    return [(item.id, item.text) for item in step.bank.items]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("core: a nurse", ("core", "a nurse")),
        ("Episodic : May: moved", ("episodic", "May: moved")),
        ("semantic:x", ("semantic", "x")),
        ("Turin lies in Italy", ("semantic", "Turin lies in Italy")),
        ("note: x", ("semantic", "note: x")),
        ("", ("semantic", "")),
    ],
)
def test_the_prefix_tells_the_part(text, parts):
    assert split(text) == parts


def test_there_is_one_core_and_it_is_written_anew(stream):
    [first, second], _ = steps(
        stream,
        [insert("core: a nurse"), insert("Episodic: May: moved"), insert("Turin lies in Italy")],
        [insert("core: a doctor")],
    )
    rest = [("m2", "episodic: May: moved"), ("m3", "semantic: Turin lies in Italy")]
    assert texts(first) == [("m1", "core: a nurse"), *rest]
    assert texts(second) == [("m1", "core: a doctor"), *rest]


def test_two_cores_in_one_reply_are_one(stream):
    [step], _ = steps(stream, [insert("semantic: a"), insert("core: first"), insert("core: second")])
    assert texts(step) == [("m1", "semantic: a"), ("m2", "core: second")]


def test_a_core_that_was_deleted_can_be_written_again(stream):
    [_, second], _ = steps(stream, [insert("core: a")], [{"op": "DELETE", "id": "m1"}, insert("core: b")])
    assert texts(second) == [("m2", "core: b")]


def test_an_update_keeps_the_part_of_its_item(stream):
    [_, second], _ = steps(
        stream, [insert("core: a"), insert("semantic: b")], [update("m1", "c d"), update("m2", "core: e")]
    )
    assert texts(second) == [("m1", "core: c d"), ("m2", "semantic: e")]


def test_the_core_is_cut_to_its_limit_and_other_parts_are_not(stream):
    [step], _ = steps(stream, [insert("core: one two three"), insert("semantic: one two three")], core_tokens=2)
    assert texts(step) == [("m1", "core: one two"), ("m2", "semantic: one two three")]


def test_a_prefix_alone_is_no_item(stream):
    [step], _ = steps(stream, [insert("core: "), insert("semantic:")])
    assert texts(step) == []
    assert len(step.malformed) == 2


def test_core_and_newest_items_are_shown_and_no_other_can_be_changed(stream):
    many = [insert("core: a"), *(insert(f"semantic: fact {n}") for n in range(4)), insert("episodic: May")]
    [_, second], generator = steps(stream, many, [{"op": "DELETE", "id": "m2"}, {"op": "DELETE", "id": "m5"}], newest=2)
    assert generator.conversations[1][1]["content"].split("Memory:\n")[1].splitlines() == [
        "m1: core: a", "m4: semantic: fact 2", "m5: semantic: fact 3", "m6: episodic: May",
    ]  # fmt: skip
    assert [each.refused for each in second.operations] == ["m2 was not shown", None]
