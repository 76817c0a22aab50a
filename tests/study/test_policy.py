from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.manager import Observation
from finemem_pipeline.memory import Insert, MemoryBank, Skip, Update, parse_operations
from finemem_pipeline.study.policy import (
    KEEP,
    WEIGHTS,
    SentencePolicy,
    chances,
    decisions,
    start_weights,
)

CHUNK = "\n".join(
    (
        "Greta's locker code has changed to 7429.",
        "Hugo fell asleep on the train.",
        "Hugo's spare key is under the doormat.",
        "Nils lives in Melhaven.",
    )
)


def bank(*texts: str) -> MemoryBank:
    held = MemoryBank()
    for step, text in enumerate(texts):
        held, _ = held.apply(Insert(text), step)
    return held


def observation(text: str, held: MemoryBank) -> Observation:
    return Observation(Episode("e", "s", "AR", (Chunk(0, text),), ()), Chunk(0, text), held)


def weights(**named: float) -> np.ndarray:
    """Weights of KEEP by name; overwriting is as good as ruled out."""
    found = np.zeros(WEIGHTS)
    found[len(KEEP)] = -30.0
    for name, value in named.items():
        found[KEEP.index(name)] = value
    return found


LOCKER = "Greta's locker code is 5005."
WAVED = "Greta waved from the other side of the road."


@given(st.integers(0, 10_000), st.sampled_from([(), (LOCKER,), (WAVED, LOCKER, "Hugo has a spare key.")]))
def test_the_gradient_of_a_recorded_step_is_that_of_its_log_probability(seed, texts):
    random = np.random.default_rng(seed)
    at, held = random.normal(size=WEIGHTS), bank(*texts)
    completion = SentencePolicy(at, seed).act([observation(CHUNK, held)])[0].completion
    rows, taken = decisions(CHUNK, held, completion)

    def log_probability(where: np.ndarray) -> float:
        chance = chances(where, rows)
        return float(np.log(np.where(taken > 0, chance, 1 - chance)).sum())

    numeric = [(log_probability(at + step) - log_probability(at - step)) / 2e-5 for step in 1e-5 * np.eye(WEIGHTS)]
    np.testing.assert_allclose((taken - chances(at, rows)) @ rows, numeric, atol=1e-6)
    assert sum(completion.logprobs) == pytest.approx(log_probability(at))


@given(st.integers(0, 10_000))
def test_the_operations_say_what_was_decided(seed):
    held = bank(LOCKER, "Hugo has a spare key.")
    at = start_weights(keep=0.7, overwrite=0.5)
    completion = SentencePolicy(at, seed).act([observation(CHUNK, held)])[0].completion
    operations = parse_operations(completion.text).operations
    kept, overwritten = completion.completion_ids[:4], completion.completion_ids[4:]
    written = [each for each in operations if not isinstance(each, Skip)]
    assert [each.text for each in written] == [line for line, keep in zip(CHUNK.split("\n"), kept, strict=True) if keep]
    assert sum(isinstance(each, Update) for each in written) == sum(overwritten)
    assert len(overwritten) == kept[0] + kept[2]  # the locker and the key resemble an item


def test_it_starts_by_keeping_three_sentences_in_ten_whatever_they_say():
    text = "\n".join(f"Nils counted {number} geese." for number in range(2000))
    completion = SentencePolicy(start_weights(), 1).act([observation(text, MemoryBank())])[0].completion
    assert sum(completion.completion_ids) / 2000 == pytest.approx(0.3, abs=0.03)
    assert set(np.round(np.exp(completion.logprobs), 9)) == {0.3, 0.7}


@pytest.mark.parametrize(
    ("kind", "kept"), [("number", [0]), ("changed", [0]), ("past", [1]), ("place", [2]), ("names", [3])]
)
def test_it_can_tell_kinds_of_sentences_apart(kind, kept):
    policy = SentencePolicy(weights(always=-1, **{kind: 4}), greedy=True)
    decided = policy.act([observation(CHUNK, MemoryBank())])[0].completion
    assert np.flatnonzero(decided.completion_ids).tolist() == kept


def test_a_sentence_overwrites_the_item_that_shares_most_words_with_it_and_the_newest_of_equals():
    held = bank("Greta likes her locker.", LOCKER, "The locker code of Greta is 5005.", "Greta waved.")
    at = weights(always=-1, number=4)
    at[len(KEEP)] = 30.0
    decided = SentencePolicy(at, greedy=True).act([observation(CHUNK, held)])[0].completion
    assert parse_operations(decided.text).operations == (Update("m3", "Greta's locker code has changed to 7429."),)


def test_sharing_one_word_is_no_resemblance():
    at = weights(always=30)
    at[len(KEEP)] = 30.0
    decided = SentencePolicy(at, greedy=True).act([observation(CHUNK, bank("Greta waved.", "Hugo waved."))])[0]
    assert all(isinstance(each, Insert) for each in parse_operations(decided.completion.text).operations)


def test_keeping_nothing_is_a_skip():
    decided = SentencePolicy(weights(always=-30), greedy=True).act([observation(CHUNK, MemoryBank())])[0].completion
    assert parse_operations(decided.text).operations == (Skip(),)
    assert decided.completion_ids == (0, 0, 0, 0)


def test_the_same_seed_decides_alike_and_another_does_not():
    seen = [observation(CHUNK, MemoryBank())] * 20
    texts = [[turn.completion.text for turn in SentencePolicy(start_weights(), seed).act(seen)] for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]


def test_a_reply_to_another_memory_is_refused():
    decided = SentencePolicy(weights(always=30)).act([observation(CHUNK, bank(LOCKER))])[0].completion
    with pytest.raises(ValueError, match="5 decisions on record, 4 sentences and 0 items to overwrite"):
        decisions(CHUNK, MemoryBank(), decided)


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="a policy has 16 weights"):
        SentencePolicy(np.zeros(3))
