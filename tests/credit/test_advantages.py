from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from finemem_pipeline.credit import count_dead, count_excluded, group_advantages

NAN = float("nan")
REWARDS = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9),
    elements=st.one_of(st.just(NAN), st.sampled_from([0.0, 0.1, 1.0]), st.floats(-5, 5)),
)


def test_advantages_compare_siblings_at_the_same_step():
    advantages = group_advantages([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]], eps=0.0)
    assert np.allclose(advantages, [[-1.0, -1 / 3**0.5], [1.0, -1 / 3**0.5], [0.0, 2 / 3**0.5]])


def test_epsilon_stands_beside_the_unbiased_deviation():
    assert group_advantages([[0.0], [2.0]])[1, 0] == 1.0 / (2**0.5 + 1e-4)


def test_a_missing_reward_is_left_out_and_gets_nothing():
    advantages = group_advantages([[1.0], [NAN], [3.0]], eps=0.0)
    assert np.allclose(advantages, [[-1 / 2**0.5], [0.0], [1 / 2**0.5]])


def test_columns_without_a_comparison_are_dead():
    rewards = np.array([[1.0, NAN, 0.1, 1.0, NAN], [NAN, NAN, 0.1, 2.0, 0.1], [NAN, NAN, 0.1, NAN, 0.1]])
    advantages = group_advantages(rewards)
    assert (advantages[:, [0, 1, 2, 4]] == 0).all()
    assert advantages[0, 3] < 0 < advantages[1, 3]
    assert count_dead(rewards) == 4
    assert count_excluded(rewards) == 7


@pytest.mark.parametrize(
    ("rewards", "reason"),
    [([[1.0, 2.0]], "found 1"), ([1.0, 2.0], "shape"), ([[1.0], [float("inf")]], "finite")],
)
def test_what_cannot_be_compared_is_refused(rewards, reason: str):
    with pytest.raises(ValueError, match=reason):
        group_advantages(rewards)


def test_rewards_that_differ_by_the_order_of_a_sum_are_equal():
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    rewards = np.array([[0.1 + 0.2 + 0.3], [0.3 + 0.2 + 0.1]])
    assert count_dead(rewards) == 1
    assert (group_advantages(rewards) == 0).all()


@given(REWARDS)
def test_advantages_are_centred_finite_and_zero_where_nothing_is_scored(rewards: NDArray[np.float64]):
    advantages = group_advantages(rewards)
    assert np.isfinite(advantages).all()
    assert (advantages[np.isnan(rewards)] == 0).all()
    assert np.allclose(advantages.sum(axis=0), 0, atol=1e-9)
    scored = [column[~np.isnan(column)] for column in rewards.T]
    signal = [len(column) > 1 and column.max() - column.min() > 1e-12 for column in scored]
    assert count_dead(rewards) == len(signal) - sum(signal)
    assert (advantages[:, ~np.array(signal)] == 0).all()


@given(REWARDS, st.randoms(use_true_random=False))
def test_siblings_may_stand_in_any_order(rewards: NDArray[np.float64], random):
    order = list(range(len(rewards)))
    random.shuffle(order)
    assert np.allclose(group_advantages(rewards[order]), group_advantages(rewards)[order], atol=1e-9)


@given(REWARDS, st.floats(-3, 3))
def test_a_constant_added_to_a_step_changes_nothing(rewards: NDArray[np.float64], constant: float):
    assert np.allclose(group_advantages(rewards + constant), group_advantages(rewards), atol=1e-8)


@given(REWARDS)
def test_a_missing_sibling_is_as_good_as_none(rewards: NDArray[np.float64]):
    absent = np.full((1, rewards.shape[1]), NAN)
    with_absent = group_advantages(np.concatenate([rewards, absent]))
    assert (with_absent[:-1] == group_advantages(rewards)).all()
