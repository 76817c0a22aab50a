"""What config becomes, where that is more than handing arguments on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from finemem_pipeline import wiring
from finemem_pipeline.clock import Clock
from finemem_pipeline.config import BM25Config, DenseConfig, EndpointConfig, HybridConfig, ReaderConfig
from finemem_pipeline.episodes import Question
from finemem_pipeline.memory import Insert, MemoryBank
from finemem_pipeline.reasoning.judge import RubricJudge
from finemem_pipeline.reasoning.whole import WholeText
from finemem_pipeline.retrieval import BM25, Everything
from finemem_pipeline.retrieval.dense import Dense
from finemem_pipeline.retrieval.hybrid import Hybrid

SERVER = EndpointConfig(base_url="http://127.0.0.1:8000/v1", model="m", max_tokens=32, temperature=0.5)


def reader_config(model: Path, kind: str) -> ReaderConfig:
    retriever = {
        "bm25": BM25Config(k1=1.2, b=0.5),
        "dense": DenseConfig(model=str(model), encoder="transformers"),
        "hybrid": HybridConfig(model=str(model), encoder="transformers", k1=1.2, b=0.5),
    }[kind]
    return ReaderConfig(retriever=retriever, cache=None)


def bank_of(*texts: str) -> MemoryBank:
    bank = MemoryBank()
    for step, text in enumerate(texts):
        bank, _ = bank.apply(Insert(text), step)
    return bank


def test_each_kind_of_retriever_is_made_and_one_encoder_serves_all(tiny_model):
    plain, dense, hybrid = (wiring.retriever(reader_config(tiny_model, kind)) for kind in ("bm25", "dense", "hybrid"))
    assert isinstance(plain, BM25)
    assert (plain.k1, plain.b) == (1.2, 0.5)
    assert isinstance(dense, Dense)
    assert isinstance(hybrid, Hybrid)
    assert isinstance(hybrid.retrievers[0], BM25)
    assert hybrid.retrievers[1] is dense
    clock = Clock()
    timed = wiring.retriever(reader_config(tiny_model, "hybrid"), clock)
    items = bank_of("It rained.", "Ann has a red key.").items
    assert [item.id for item, _ in timed.search(["red key"], items, 1)[0]] == ["m2"]


@pytest.mark.parametrize("kind", ["bm25", "dense", "hybrid"])
def test_a_reader_is_known_by_the_kind_and_the_model_of_its_retriever(tiny_model, kind):
    config = reader_config(tiny_model, kind)
    told = wiring.reader_identity(config, wiring.reader(config))["retriever"]
    assert told["kind"] == kind
    assert told.get("model") == (None if kind == "bm25" else str(tiny_model))


def test_a_reader_of_the_whole_memory_is_shown_all_items_in_their_order():
    made = wiring.reader(ReaderConfig(cache=None))
    whole = wiring.whole_reader(made)
    bank = bank_of("Ann's locker code is 17.", "It rained.", "Ann's locker code is 4711.")
    [answer] = whole.answer([(Question("q", "What is Ann's locker code?", ("4711",)), bank)])
    assert answer.evidence == bank.items
    assert (type(whole.retriever), type(whole.reasoner), whole.k) == (Everything, WholeText, sys.maxsize)
    assert whole.cache is made.cache
    assert (type(made.retriever), made.k, made.usage.questions, whole.usage.questions) == (BM25, 2, 0, 1)


def test_a_reader_has_the_judge_it_was_configured_with():
    judge = wiring.reader(ReaderConfig(judge=SERVER, cache=None)).judge
    assert isinstance(judge, RubricJudge)
    assert (judge.sampling.max_tokens, judge.sampling.temperature) == (32, 0.5)


def test_without_one_it_has_none_and_its_identity_says_nothing_of_judges():
    config = ReaderConfig(cache=None)
    assert wiring.reader(config).judge is None
    assert set(wiring.reader_identity(config, wiring.reader(config))) == {"reasoner", "retriever", "k"}


def test_the_judge_is_part_of_what_answers_depend_on():
    config = ReaderConfig(judge=SERVER, cache=None)
    made = wiring.reader(config)
    assert made.judge is not None
    assert wiring.reader_identity(config, made)["judge"] == made.judge.identity
