"""Each reward by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from finemem_pipeline.memory import Applied, Delete, Insert, Skip
from finemem_pipeline.rewards import NEEDS, OF_CHUNKS, PER_ROLLOUT, REWARDS

OK = Applied(Insert("a"), "m1")
REFUSED = Applied(Delete("m9"), refused="no item m9")
SKIP = Applied(Skip())


def test_outcome_is_the_mean_of_the_scored_final_answers(play):
    assert REWARDS["outcome"](play(final=[1.0, 0.0, None])) == 0.5
    assert math.isnan(REWARDS["outcome"](play(final=[None, None])))


def test_a_stream_without_final_questions_has_no_outcome(play):
    value = REWARDS["outcome"](play(final=[], chunks=[[], [], []]))
    assert np.ma.getmaskarray(value).tolist() == [True, True, True]


def test_chunk_is_the_mean_of_the_answers_to_the_chunks_own_questions(play):
    value = REWARDS["chunk"](play(chunks=[[1.0, 0.0], [1.0], [0.0]]))
    assert value.tolist() == [0.5, 1.0, 0.0]


def test_a_chunk_without_questions_is_absent_and_one_failed_answer_fails_the_step(play):
    value = REWARDS["chunk"](play(chunks=[[], [1.0, None], [None]]))
    assert np.ma.getmaskarray(value).tolist() == [True, False, False]
    assert np.isnan(value.data[1:]).all()


@pytest.mark.parametrize(
    ("operations", "malformed", "validity"),
    [
        ([SKIP], [], 1.0),
        ([SKIP, SKIP], [], 1.0),
        ([OK], [], 1.0),
        ([OK, REFUSED], [], 0.5),
        ([SKIP, OK, REFUSED], [], 0.5),
        ([SKIP, REFUSED], [], 0.0),
        ([SKIP], ["unknown op"], 0.0),
        ([OK, OK, REFUSED], ["unknown op"], 0.5),
        ([], ["no list of operations"], 0.0),
    ],
)
def test_format_is_the_share_of_fragments_that_apply(play, operations, malformed, validity: float):
    rollout = play(chunks=[[]], operations=[operations], malformed=[malformed])
    assert REWARDS["format"](rollout).tolist() == [validity]


def test_compression_is_what_the_memory_saves(play):
    assert REWARDS["compression"](play(final_tokens=25, tokens_read=100)) == 0.75
    assert REWARDS["compression"](play(final_tokens=150, tokens_read=100)) == -0.5


@pytest.mark.parametrize(
    ("reward", "probe", "asked", "found", "value"),
    [
        ("delta_chunk", "before", [[1.0, 0.0], [1.0], [0.0]], [[0.0, 0.0], [1.0], [0.5]], [0.5, 0.0, -0.5]),
        ("qa_gain", "no_memory", [[1.0, 1.0], [1.0], [0.0]], [[1.0, 0.5], [0.0], [0.5]], [0.25, 1.0, -0.5]),
        ("retention", "older", [[], [1.0], [1.0]], [[0.5], [1.0, 0.0, 0.5, 0.5], [0.0]], [0.5, 0.5, 0.0]),
    ],
)
def test_rewards_that_read_probes(play, reward: str, probe: str, asked, found, value: list[float]):
    assert NEEDS[reward] == probe
    assert REWARDS[reward](play(chunks=asked, probes={probe: found})).tolist() == value


@pytest.mark.parametrize("reward", ["delta_chunk", "qa_gain"])
def test_what_a_step_added_is_absent_without_questions_and_fails_with_either_answer(play, reward: str):
    probes = {NEEDS[reward]: [[], [1.0], [None, 1.0], [0.0]]}
    value = REWARDS[reward](play(chunks=[[], [None], [1.0, 1.0], [1.0]], probes=probes))
    assert np.ma.getmaskarray(value).tolist() == [True, False, False, False]
    assert np.isnan(value.data[1:]).tolist() == [True, True, False]
    assert value[3] == 1.0


def test_retention_is_absent_while_there_is_nothing_older_and_fails_with_one_answer(play):
    value = REWARDS["retention"](play(chunks=[[1.0], [1.0], [1.0]], probes={"older": [[], [1.0, None], [0.25]]}))
    assert np.ma.getmaskarray(value).tolist() == [True, False, False]
    assert np.isnan(value[1])
    assert value[2] == 0.25


@pytest.mark.parametrize(("reward", "probe"), sorted(NEEDS.items()))
def test_a_reward_whose_probe_is_missing_says_so(play, reward: str, probe: str):
    with pytest.raises(ValueError, match=f"step 0 was not probed for '{probe}': reasoning.probes collects"):
        REWARDS[reward](play())


def test_step_compression_is_what_the_memory_grew_by_as_a_share_of_the_chunk(play):
    rollout = play(chunks=[[], [], [], []], bank_tokens=[20, 20, 50, 10], tokens_read=200)  # 50 a chunk
    assert REWARDS["step_compression"](rollout).tolist() == [-0.4, 0.0, -0.6, 0.8]


def test_rewards_give_a_float_per_rollout_or_one_value_per_step(play):
    nothing_found = {probe: [[], []] for probe in NEEDS.values()}
    for name, reward in REWARDS.items():
        value = reward(play(probes=nothing_found))
        assert isinstance(value, float) == (name in PER_ROLLOUT)
        assert np.shape(value) == (() if name in PER_ROLLOUT else (2,))


def test_rewards_of_chunks_are_absent_from_a_stream_without_chunk_questions(play):
    rollout = play(final=[1.0], probes={probe: [[], []] for probe in NEEDS.values()})
    absent = {name for name, reward in REWARDS.items() if np.all(np.ma.getmaskarray(reward(rollout)))}
    assert absent == set(OF_CHUNKS)
