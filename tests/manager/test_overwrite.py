from __future__ import annotations

import pytest

from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.manager.overwrite import CompactStyle, OverwriteStyle
from finemem_pipeline.manager.play import play
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25


def count_words(text: str) -> int:
    return len(text.split())


def banks(style, stream, replies, limit=100):
    """The texts of the bank after each step, and the generator."""
    generator = ScriptedGenerator(replies)
    manager = style(generator, Sampling(), count_words, limit=limit)
    texts = [f"part {n}" for n in range(len(replies))]
    [group] = play([stream(*texts)], manager, Reader(BM25(), ExtractiveReasoner()), count_words)
    return [[(item.id, item.text) for item in step.bank.items] for step in group.rollouts[0].steps], generator


def test_there_is_one_item_and_every_reply_replaces_it(stream):
    seen, generator = banks(OverwriteStyle, stream, ["Ann has a key.", "Ann lost it.", " "])
    assert seen == [[("m1", "Ann has a key.")], [("m1", "Ann lost it.")], [("m1", "Ann lost it.")]]
    assert [conversation[1]["content"].split("Memory:\n")[1] for conversation in generator.conversations] == [
        "(empty)", "Ann has a key.", "Ann lost it.",
    ]  # fmt: skip


def test_the_text_is_cut_to_the_limit(stream):
    seen, _ = banks(OverwriteStyle, stream, ["one two three four"], limit=3)
    assert seen == [[("m1", "one two three")]]


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        ("<state>Ann: key</state>", "Ann: key"),
        ("Sure! <STATE>\nAnn: key\n</State> Done.", "Ann: key"),
        ("<state>old</state><state>Ann: key", "Ann: key"),
        ("<think><state>no</state></think><state>Ann: key</state>", "Ann: key"),
    ],
)
def test_the_compact_state_is_what_stands_between_the_tags(stream, reply, state):
    seen, _ = banks(CompactStyle, stream, [reply])
    assert seen == [[("m1", state)]]


@pytest.mark.parametrize("reply", ["Ann: key", "<state></state>", "<state> </state>", "state>Ann"])
def test_a_reply_without_a_state_leaves_the_old_one(stream, reply):
    seen, _ = banks(CompactStyle, stream, ["<state>Ann: key</state>", reply])
    assert seen[1] == [("m1", "Ann: key")]
