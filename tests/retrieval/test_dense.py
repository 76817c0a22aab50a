from __future__ import annotations

import importlib.util
import math
import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.memory import Insert, MemoryBank, MemoryItem, Update
from finemem_pipeline.retrieval.dense import (
    Dense,
    RetrieverError,
    mean_encoder,
    need_sentence_transformers,
    sentence_encoder,
)

AXES = ("ada", "rain", "sun")


class Words:
    """Embeds a text as how often each of three words stands in it; keeps the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, texts):
        self.batches.append(list(texts))
        return np.array([[text.lower().count(word) for word in AXES] for text in texts], dtype=np.float32)


def bank_of(*texts: str) -> MemoryBank:
    bank = MemoryBank()
    for step, text in enumerate(texts):
        bank, _ = bank.apply(Insert(text), step)
    return bank


def ids(found) -> list[str]:
    return [item.id for item, _ in found]


def test_the_score_is_the_cosine():
    [found] = Dense(Words()).search(["ada sun"], bank_of("Ada", "sun sun", "ada rain", "rain").items, 4)
    assert ids(found) == ["m2", "m1", "m3"]
    assert [score for _, score in found] == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0.5], abs=1e-6)


def test_what_points_elsewhere_or_nowhere_is_not_retrieved():
    items = bank_of("rain", "…").items
    assert Dense(Words()).search(["sun", "…", "rain"], items, 2) == [[], [], [(items[0], 1.0)]]
    opposite = Dense(lambda texts: np.array([[1.0] if text == "q" else [-1.0] for text in texts], dtype=np.float32))
    assert opposite.search(["q"], items, 2) == [[]]


def test_no_items_no_queries_or_no_room_ask_no_model():
    words = Words()
    assert Dense(words).search(["a"], [], 2) == [[]]
    assert Dense(words).search([], bank_of("rain").items, 2) == []
    assert Dense(words).search(["a"], bank_of("rain").items, 0) == [[]]
    assert words.batches == []


def test_equal_scores_go_to_the_newest_item():
    bank = bank_of("rain", "rain!", "rain")
    [found] = Dense(Words()).search(["rain"], bank.items, 3)
    assert ids(found) == ["m3", "m2", "m1"]
    bank, _ = bank.apply(Update("m1", "rain?"), 9)
    assert ids(Dense(Words()).search(["rain"], bank.items, 2)[0]) == ["m1", "m3"]


def test_two_items_of_one_id_are_refused():
    with pytest.raises(ValueError, match="different ids"):
        Dense(Words()).search(["a"], [MemoryItem("m1", "a", (0,)), MemoryItem("m1", "b", (0,))], 1)


def test_a_text_is_embedded_once():
    words = Words()
    dense = Dense(words)
    bank = bank_of("rain", "sun", "rain")
    dense.search(["ada", "rain"], bank.items, 2)
    bank, _ = bank.apply(Insert("ada!"), 3)
    dense.search(["ada"], bank.items, 2)
    assert words.batches == [["rain", "sun", "ada"], ["ada!"]]
    assert dense.embedded == 4


def test_the_texts_that_came_first_are_forgotten_when_there_is_no_room():
    words = Words()
    dense = Dense(words, texts=2)
    dense.search(["sun"], bank_of("ada", "rain").items, 1)
    assert ids(dense.search(["rain"], bank_of("ada").items, 1)[0]) == []
    assert words.batches[1] == ["ada"]
    with pytest.raises(ValueError, match="room for a text"):
        Dense(words, texts=0)


@given(st.permutations(range(12)), st.integers(1, 12))
def test_a_score_has_the_same_bits_whatever_else_the_memory_holds(order, size):
    vectors = np.random.default_rng(0).normal(size=(13, 37)).astype(np.float32)
    dense = Dense(lambda texts: vectors[[int(text) for text in texts]])
    items = [MemoryItem(f"m{n}", str(n), (n,)) for n in order[:size]]
    [found] = dense.search(["12"], items, size)
    for item, score in found:
        assert dense.search(["12"], [item], 1) == [[(item, score)]]


def test_an_encoder_that_does_not_keep_the_count_is_told():
    with pytest.raises(RetrieverError, match=r"shape \(1, 3\) for 2 texts"):
        Dense(lambda texts: np.zeros((1, 3), dtype=np.float32)).search(["a"], bank_of("b").items, 1)


def test_without_the_library_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (need_sentence_transformers, sentence_encoder):
        with pytest.raises(RetrieverError, match=r"'some/model' needs .*pip install sentence-transformers"):
            ask("some/model")


def test_a_sentence_transformers_model_is_asked_in_its_own_words(monkeypatch):
    class SentenceTransformer:
        def __init__(self, model: str) -> None:
            if model != "here":
                raise OSError(f"{model} is not a folder\nand more")

        def encode(self, texts, show_progress_bar):
            assert show_progress_bar is False
            return Words()(texts)

    library = ModuleType("sentence_transformers")
    library.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert ids(Dense(sentence_encoder("here")).search(["sun"], bank_of("rain", "sun").items, 2)[0]) == ["m2"]
    with pytest.raises(RetrieverError, match="no encoder could be loaded from 'gone': gone is not a folder Give"):
        sentence_encoder("gone")


def test_any_encoder_is_averaged_over_its_tokens(tiny_model):
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["Ann has a key.", "It rained in the morning, and in the evening too.", "Ann"]
    found = mean_encoder(str(tiny_model), batch=2)(texts)
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModel.from_pretrained(tiny_model)
    for row, text in zip(found, texts, strict=True):
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).last_hidden_state
        assert np.allclose(row, states[0].mean(dim=0).numpy(), atol=1e-5)


def test_texts_of_any_kind_and_length_are_embedded(tiny_model):
    texts = ["", "記憶 😀", "key " * 5000]
    found = mean_encoder(str(tiny_model))(texts)
    assert found.shape == (3, 64)
    assert np.isfinite(found).all()
    [best] = Dense(mean_encoder(str(tiny_model))).search(["記憶 😀"], bank_of("It rained.", "記憶 😀").items, 1)
    assert best[0][0].id == "m2"
    assert best[0][1] == pytest.approx(1.0, abs=1e-5)


def test_an_encoder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RetrieverError, match="no encoder could be loaded from"):
        mean_encoder(str(tmp_path / "none"))


def test_an_encoder_that_gives_no_numbers_is_an_error_and_no_empty_result():
    broken = Dense(lambda texts: np.array([[1.0, np.nan if "cat" in text else 0.0] for text in texts]))
    with pytest.raises(RetrieverError, match="no numbers for 1 of 2 texts, the first of them 'a cat'"):
        broken.search(["dog"], [MemoryItem("m1", "a cat", (0,))], 1)
