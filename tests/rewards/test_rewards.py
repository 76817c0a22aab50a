"""Each reward by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from finemem_pipeline.memory import Applied, Delete, Insert, Skip
from finemem_pipeline.rewards import PER_ROLLOUT, REWARDS

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


def test_rewards_give_a_float_per_rollout_or_one_value_per_step(play):
    for name, reward in REWARDS.items():
        value = reward(play())
        assert isinstance(value, float) == (name in PER_ROLLOUT)
        assert np.shape(value) == (() if name in PER_ROLLOUT else (2,))
