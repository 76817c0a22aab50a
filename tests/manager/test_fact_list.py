from __future__ import annotations

import json

import pytest

from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.manager.fact_list import FactListStyle, facts_in
from finemem_pipeline.manager.play import play
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25

KEY = "Ann has the red key."


def count_words(text: str) -> int:
    return len(text.split())


def last_step(stream, *replies, **sizes):
    """The step after one in which the fact KEY was stored; the first reply lists facts, the others decide."""
    script = [json.dumps([KEY]), *replies]
    generator = ScriptedGenerator(script)
    manager = FactListStyle(generator, Sampling(), count_words, BM25(), **sizes)
    [group] = play([stream("one", "two")], manager, Reader(BM25(), ExtractiveReasoner()), count_words)
    assert len(generator.conversations) == len(script)
    return group.rollouts[0].steps[1]


def texts(step) -> list[tuple[str, str]]:
    return [(item.id, item.text) for item in step.bank.items]


@pytest.mark.parametrize(
    ("reply", "facts"),
    [
        ('["a b", "c"]', ["a b", "c"]),
        ('Sure:\n```json\n["a\\n b", "a b", 7, ""]\n```', ["a b"]),
        ('{"facts": ["a", "b"]}', ["a", "b"]),
        ('[{"fact": "a"}, {"content": "b"}]', ["a", "b"]),
        ('["a", "b", "cut of', ["a", "b"]),
        ("[]", []),
        ("[1, 2]", None),
        ("No facts.", None),
        ("", None),
        ('["記憶 \\ud83d\\ude00"]', ["記憶 😀"]),
    ],
)
def test_facts_are_read_from_many_kinds_of_lists(reply, facts):
    assert facts_in(reply) == facts


def test_a_fact_that_resembles_no_item_is_added_without_asking(stream):
    assert texts(last_step(stream, '["It rained."]')) == [("m1", KEY), ("m2", "It rained.")]


@pytest.mark.parametrize(
    ("decision", "memory"),
    [
        ('{"op": "ADD"}', [("m1", KEY), ("m2", "Ann lost the red key.")]),
        ('{"op": "add", "content": "Lost."}', [("m1", KEY), ("m2", "Lost.")]),
        ('{"op": "UPDATE", "id": "m1", "content": "Ann lost it."}', [("m1", "Ann lost it.")]),
        ('{"op": "UPDATE", "id": "m1"}', [("m1", "Ann lost the red key.")]),
        ('[{"op": "DELETE", "id": "m1"}]', []),
        ('I think {"op": "NOOP"}', [("m1", KEY)]),
    ],
)
def test_the_model_decides_what_becomes_of_a_fact(stream, decision, memory):
    step = last_step(stream, '["Ann lost the red key."]', decision)
    assert texts(step) == memory
    assert step.malformed == ()


@pytest.mark.parametrize(
    "decision", ["", "ADD", '{"op": "MERGE"}', '{"op": "DELETE", "id": "m9"}', '{"op": "UPDATE", "id": ["m1"]}', "{}"]
)
def test_a_decision_that_cannot_be_read_leaves_the_memory(stream, decision):
    step = last_step(stream, '["Ann lost the red key."]', decision)
    assert texts(step) == [("m1", KEY)]
    assert len(step.malformed) == 1


def test_of_two_facts_that_change_an_item_the_second_is_added(stream):
    update = '{"op": "UPDATE", "id": "m1", "content": "changed"}'
    step = last_step(stream, '["Ann lost the red key.", "Bob found the red key."]', update, update)
    assert texts(step) == [("m1", "changed"), ("m2", "Bob found the red key.")]


def test_no_more_facts_than_asked_for_are_taken_and_the_nearest_are_shown(stream):
    step = last_step(stream, '["Ann lost the red key.", "It rained."]', '{"op": "NOOP"}', most=1)
    assert texts(step) == [("m1", KEY)]
    generator = ScriptedGenerator([json.dumps([KEY, "The red key is old.", "It rained."]), '["The red key."]', "{}"])
    manager = FactListStyle(generator, Sampling(), count_words, BM25(), nearest=1)
    play([stream("one", "two")], manager, Reader(BM25(), ExtractiveReasoner()), count_words)
    shown = generator.conversations[-1][1]["content"]
    assert shown == "Memory:\nm2: The red key is old.\n\nNew fact: The red key."
