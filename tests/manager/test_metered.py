"""What holds for every manager with a language model, whatever it replies."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.generation import GeneratorError, Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.manager import Observation, Usage, usage_by_stream
from finemem_pipeline.manager.baselines import NoMemory
from finemem_pipeline.manager.fact_list import FactListStyle
from finemem_pipeline.manager.linked_notes import LinkedNotesStyle
from finemem_pipeline.manager.metered import Metered
from finemem_pipeline.manager.overwrite import CompactStyle, OverwriteStyle
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.policy import PolicyManager, Prompter
from finemem_pipeline.manager.three_tier import ThreeTierStyle
from finemem_pipeline.memory import MemoryBank
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.records import decode_rollout, encode_rollout
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.rollouts import Completion

SAMPLING = Sampling(max_tokens=50)


def count_words(text: str) -> int:
    text.encode()  # as a tokenizer would
    return len(text.split())


MAKERS = {
    "prompted": lambda generator: PolicyManager(generator, Prompter(BM25(), count_words, 100), SAMPLING),
    "overwrite_style": lambda generator: OverwriteStyle(generator, SAMPLING, count_words, limit=20),
    "compact_style": lambda generator: CompactStyle(generator, SAMPLING, count_words, limit=20),
    "three_tier_style": lambda generator: ThreeTierStyle(generator, SAMPLING, count_words, core_tokens=20),
    "fact_list_style": lambda generator: FactListStyle(generator, SAMPLING, count_words, BM25()),
    "linked_notes_style": lambda generator: LinkedNotesStyle(generator, SAMPLING, count_words, BM25()),
}
every_manager = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@dataclass
class Counting(ScriptedGenerator):
    """Says the same to everything, and counts the batches."""

    reply: str
    batches: list[int] = field(default_factory=list)
    name: str = "counting"

    def generate(self, conversations, sampling):
        self.batches.append(len(conversations))
        assert sampling == SAMPLING
        return [Completion(self.reply) for _ in conversations]


def streams(*chunks: str, copies: int = 2) -> list[Episode]:
    texts = chunks or ("Ann has a red key.", "Bob has a hat.", "Ann lost the red key.")
    pieces = tuple(Chunk(t, text) for t, text in enumerate(texts))
    return [Episode(f"e{n}", "made", "AR", pieces, ()) for n in range(copies)]


def played(manager, episodes):
    return play(episodes, manager, Reader(BM25(), ExtractiveReasoner()), count_words)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["m1", "m2", "Ann"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["op", "id", "content", "links", "keywords", "m1", "fact", "x"]), inner, max_size=4
        ),
    ),
    max_leaves=8,
)
OPS = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["INSERT", "UPDATE", "DELETE", "ADD", "NOOP", "SKIP"])},
        optional={
            "id": st.sampled_from(["m1", "m2", "m3", "m9"]),
            "content": st.sampled_from(["core: Ann", "core:", "episodic: key", "Ann has a key", " ", "Ann"]),
            "keywords": st.just(["Ann; (key)", "key"]),
        },
    ),
    max_size=4,
)


REPLIES = st.one_of(
    st.text(max_size=30),
    st.text(alphabet=st.characters(categories=["Cs", "Lu"]), max_size=4),
    JSON.map(json.dumps),
    OPS.map(json.dumps),
    OPS.filter(bool).map(lambda ops: json.dumps(ops[0])),
    st.just('["Ann has a key", "Bob has a hat"]'),
    st.just('[{"content": "Ann has a key", "keywords": ["Ann"]}]'),
    st.just('{"links": ["m1", "m2", "m9"], "keywords": {"m1": ["x"], "m7": ["y"]}}'),
    st.text(max_size=10).map("<state>{}".format),
    st.sampled_from(["", " ", "<think>", "</think>", "[" * 3000, '{"op":', "\ud800", "null", "[]", "{}"]),
)


@every_manager
@given(replies=st.lists(REPLIES, min_size=1, max_size=6))
def test_no_reply_is_an_error_and_no_bank_breaks(make, replies):
    asked = iter(range(10**6))
    manager = make(ScriptedGenerator(lambda _: replies[next(asked) % len(replies)]))
    for group in played(manager, streams()):
        [rollout] = group.rollouts
        assert decode_rollout(encode_rollout(rollout)) == rollout
        before = MemoryBank()
        for step in rollout.steps:
            ids = [item.id for item in step.bank.items]
            assert len(set(ids)) == len(ids)
            assert all(item.text.strip() for item in step.bank.items)
            assert step.bank.born >= before.born
            assert step.operations or step.malformed
            if not step.operations:
                assert step.bank == before
            before = step.bank


@every_manager
@pytest.mark.parametrize("garbage", ["", "I could not say.", "<think>Well, Ann", "\ud83d", "記憶はない"])
def test_a_reply_that_cannot_be_read_is_malformed_and_leaves_the_memory_as_it_was(make, garbage):
    manager = make(ScriptedGenerator(lambda _: garbage))
    for group in played(manager, streams()):
        for step in group.rollouts[0].steps:
            if type(manager) is OverwriteStyle and garbage[:1] in ("I", "\ud83d", "記"):
                assert len(step.bank) == 1  # any text is a memory
            else:
                assert len(step.malformed) == 1
                assert len(step.bank) == 0


@every_manager
def test_all_streams_of_a_wave_are_asked_in_one_batch_per_phase(make):
    generator = Counting('[{"content": "Ann has a red key.", "keywords": ["Ann"], "op": "INSERT"}]')
    played(make(generator), streams(copies=3))
    assert all(batch % 3 == 0 for batch in generator.batches)
    assert len(generator.batches) <= 3 * 2


@every_manager
def test_a_generator_that_fails_is_not_passed_over(make):
    with pytest.raises(GeneratorError, match="the script ended"):
        played(make(ScriptedGenerator([])), streams())


@every_manager
def test_every_call_is_counted_for_its_stream(make):
    generator = Counting("[]")
    manager = make(generator)
    assert manager.usage == Usage()
    played(manager, streams(copies=2))
    assert manager.usage.calls == sum(generator.batches)
    assert set(usage_by_stream(manager)) == {"e0", "e1"}
    assert usage_by_stream(manager)["e0"] == usage_by_stream(manager)["e1"]
    assert sum(usage_by_stream(manager).values(), Usage()) == manager.usage
    assert manager.usage.completion_tokens == manager.usage.calls  # "[]" is a word


def test_tokens_are_those_the_generator_tells_or_else_counted():
    [episode] = streams("one two", copies=1)
    replies = [Completion("x y z", prompt_ids=(1,) * 7, completion_ids=(1, 2)), Completion("x y \ud800")]
    manager = Metered(ScriptedGenerator(replies), SAMPLING, count_words)
    asked = (
        Observation(episode, episode.chunks[0], MemoryBank()),
        [{"role": "user", "content": "four words stand here"}],
    )
    manager.ask([asked])
    assert manager.usage == Usage(1, 7, 2)
    manager.ask([asked])
    assert manager.usage.since(Usage(1, 7, 2)) == Usage(1, 4, 3)


def test_nothing_is_asked_for_nothing():
    assert Metered(ScriptedGenerator([]), SAMPLING, count_words).ask([]) == []


def test_a_manager_without_a_model_costs_nothing():
    assert usage_by_stream(NoMemory()) == {}
