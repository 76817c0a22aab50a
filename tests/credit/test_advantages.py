from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from finemem_pipeline.credit import (
    ADVANTAGES,
    ALONE,
    MovingBaseline,
    Scored,
    count_dead,
    count_excluded,
    group_advantages,
)

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


EPS = 1e-4
AMONG_SIBLINGS = sorted(ADVANTAGES.keys() - set(ALONE))


def scored(total=None, weights=None, **terms) -> Scored:
    """Terms by name, each (G, T); the total is their weighted sum, with what is absent left out, unless it is given."""
    arrays = {name: np.array(term, dtype=np.float64) for name, term in terms.items()}
    weights = weights or dict.fromkeys(terms, 1.0)
    if total is None:
        total = sum(weight * np.nan_to_num(arrays[name]) for name, weight in weights.items())
    return Scored(np.array(total, dtype=np.float64), arrays, weights)


def advantages(name: str, rewards: Scored, baseline: MovingBaseline | None = None) -> NDArray[np.float64]:
    return ADVANTAGES[name](rewards, baseline or MovingBaseline())


def test_same_step_compares_the_totals():
    found = advantages("same_step", scored(a=[[1, 0], [3, 0]], b=[[0, 0], [0, 2]]))
    assert np.allclose(found, np.array([[-1, -1], [1, 1]]) / (2**0.5 + EPS), rtol=0, atol=1e-15)


def test_pooled_compares_all_steps_with_each_other():
    found = advantages("pooled", scored(a=[[0, 1], [3, 4]]))  # mean 2, squares 4 + 1 + 1 + 4
    assert np.allclose(found, np.array([[-2, -1], [1, 2]]) / ((10 / 3) ** 0.5 + EPS), rtol=0, atol=1e-15)


def test_pooled_takes_a_missing_term_as_its_mean():
    # Nobody has chunk questions at step 1: 0.5, the mean of those at step 0. Rewards [[1, 1.5], [4, 3.5]], mean 2.5.
    found = advantages("pooled", scored(outcome=[[1, 1], [3, 3]], chunk=[[0, NAN], [1, NAN]]))
    assert np.allclose(found, np.array([[-1.5, -1], [1.5, 1]]) / ((6.5 / 3) ** 0.5 + EPS), rtol=0, atol=1e-15)


def test_pooled_leaves_out_a_sibling_whose_answer_failed():
    found = advantages("pooled", scored(total=[[1, 2], [NAN, 6]], chunk=[[1, 2], [NAN, 6]]))  # mean 3, 4 + 1 + 9
    assert np.allclose(found, np.array([[-2, -1], [0, 3]]) / (7**0.5 + EPS), rtol=0, atol=1e-15)


def test_per_term_weighs_what_each_term_says_by_itself():
    rewards = scored(a=[[0, 5], [2, 5]], b=[[30, NAN], [10, NAN]], weights={"a": 2.0, "b": 0.5})
    first = 2 * 1 / (2**0.5 + EPS) - 0.5 * 10 / (200**0.5 + EPS)
    assert np.allclose(advantages("per_term", rewards), [[-first, 0], [first, 0]], rtol=0, atol=1e-15)


def test_per_term_leaves_out_a_sibling_whose_answer_failed_in_every_term():
    rewards = scored(total=[[NAN], [1], [3]], outcome=[[9], [1], [1]], chunk=[[NAN], [0], [2]])
    found = advantages("per_term", rewards)
    assert np.allclose(found, np.array([[0], [-1], [1]]) / (2**0.5 + EPS), rtol=0, atol=1e-15)


def test_return_to_go_pays_a_step_for_what_comes_after_it():
    found = advantages("return_to_go", scored(a=[[1, 0, 2], [0, 0, 5]]))  # ahead [[3, 2, 2], [5, 5, 5]]
    first, later = 1 / (2**0.5 + EPS), 1.5 / (1.5 * 2**0.5 + EPS)
    assert np.allclose(found, [[-first, -later, -later], [first, later, later]], rtol=0, atol=1e-15)


def test_return_to_go_takes_a_missing_term_as_its_mean_and_leaves_a_failed_sibling_out_of_its_step_alone():
    # Step 1 of sibling 0 failed; ahead of step 0 it counts as 3, the mean of 4 and 2. Ahead [[6, –, 2], [9, 8, 4], ...]
    rewards = [[1, NAN, 2], [1, 4, 4], [4, 2, 0]]
    found = advantages("return_to_go", scored(total=rewards, chunk=rewards))
    assert np.allclose(found[:, 0], np.array([-1, 2, -1]) / (3**0.5 + EPS), rtol=0, atol=1e-15)
    assert np.allclose(found[:, 1], np.array([0, 3, -3]) / (18**0.5 + EPS), rtol=0, atol=1e-15)
    assert np.allclose(found[:, 2], np.array([0, 2, -2]) / (2 + EPS), rtol=0, atol=1e-15)


def test_chunks_without_questions_do_not_pull_the_steps_before_them_down():
    some = scored(outcome=[[0, 0, 0], [1, 0, 0]], chunk=[[1, NAN, 1], [1, NAN, 1]])
    none = scored(outcome=[[0, 0, 0], [1, 0, 0]])
    assert np.allclose(advantages("return_to_go", some), advantages("return_to_go", none), rtol=0, atol=1e-15)


def test_moving_average_compares_with_what_the_position_earned_before():
    baseline = MovingBaseline(decay=0.9)
    assert advantages("moving_average", scored(a=[[1, 2]]), baseline).tolist() == [[0.0, 0.0]]  # seen first
    assert baseline == MovingBaseline(0.9, [1.0, 2.0], 1.0)

    found = advantages("moving_average", scored(a=[[2, 2]]), baseline)
    assert found.tolist() == [[1 / (1 + EPS), 0.0]]
    assert baseline.means == pytest.approx([1.1, 2.0], abs=1e-15)
    assert baseline.square == pytest.approx(0.95, abs=1e-15)  # 1 + 0.1·(0.5 − 1)

    found = advantages("moving_average", scored(total=[[NAN, 3, 7]], a=[[NAN, 3, 7]]), baseline)
    assert np.allclose(found, [[0, 1 / (0.95**0.5 + EPS), 0]], rtol=0, atol=1e-15)
    assert baseline.means == pytest.approx([1.1, 2.1, 7.0], abs=1e-15)
    assert baseline.square == pytest.approx(0.955, abs=1e-15)  # 0.95 + 0.1·(1 − 0.95)


def test_moving_average_takes_siblings_in_by_their_mean():
    baseline = MovingBaseline(0.9, [1.0], 4.0)
    found = advantages("moving_average", scored(total=[[2], [NAN], [4]], a=[[2], [NAN], [4]]), baseline)
    assert np.allclose(found, np.array([[1], [0], [3]]) / (2 + EPS), rtol=0, atol=1e-15)
    assert baseline.means == pytest.approx([1.2], abs=1e-15)  # 1 + 0.1·(3 − 1)
    assert baseline.square == pytest.approx(4.1, abs=1e-15)  # 4 + 0.1·(5 − 4)


def test_a_shorter_stream_leaves_the_later_positions_alone():
    baseline = MovingBaseline(0.9, [1.0, 5.0], 1.0)
    assert advantages("moving_average", scored(a=[[1.0]]), baseline).tolist() == [[0.0]]
    assert baseline.means == [1.0, 5.0]


def test_a_group_without_any_reward_teaches_the_baseline_nothing():
    baseline = MovingBaseline(0.9, [1.0, None], 0.5)
    assert not advantages("moving_average", scored(total=[[NAN, NAN]], a=[[NAN, NAN]]), baseline).any()
    assert baseline == MovingBaseline(0.9, [1.0, None], 0.5)


@given(st.lists(REWARDS, min_size=1, max_size=4), st.integers(0, 3))
def test_a_baseline_written_down_goes_on_as_if_it_had_not_been(updates: list[NDArray[np.float64]], pause: int):
    straight, resumed = MovingBaseline(), MovingBaseline()
    for place, rewards in enumerate(updates):
        if place == pause:
            resumed = MovingBaseline(**json.loads(json.dumps(asdict(resumed))))
        assert straight.compare(rewards).tobytes() == resumed.compare(rewards).tobytes()
    assert straight == resumed


@pytest.mark.parametrize("name", AMONG_SIBLINGS)
def test_one_sibling_has_nobody_to_be_compared_with(name: str):
    with pytest.raises(ValueError, match="G must be at least 2, found 1"):
        advantages(name, scored(a=[[1, 2, 3]]))


def test_the_moving_average_alone_needs_no_sibling():
    assert ALONE == ("moving_average",)
    baseline = MovingBaseline(0.9, [0.0, 0.0], 1.0)
    assert advantages("moving_average", scored(a=[[1, -1]]), baseline).tolist() == [[1 / (1 + EPS), -1 / (1 + EPS)]]


@pytest.mark.parametrize("name", AMONG_SIBLINGS)
@given(rewards=REWARDS)
def test_siblings_that_earned_the_same_carry_no_signal(name: str, rewards: NDArray[np.float64]):
    same = np.repeat(rewards[:1], 3, axis=0)
    found = advantages(name, scored(total=same, a=same))
    if name == "pooled":  # steps are compared with each other too
        assert np.ptp(found, axis=0).max() == 0
    else:
        assert not found.any()


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
@given(rewards=REWARDS, absent=st.randoms(use_true_random=False))
def test_advantages_are_finite_and_zero_where_nothing_is_scored(name: str, rewards: NDArray[np.float64], absent):
    chunk = rewards[::-1].copy()
    chunk[:, [absent.random() < 0.3 for _ in chunk.T]] = NAN  # steps without chunk questions
    failed = np.isnan(rewards) | (np.isnan(chunk) & ~np.isnan(chunk).all(axis=0))
    total = np.where(failed, NAN, rewards + np.nan_to_num(chunk))
    found = advantages(name, scored(total=total, a=rewards, chunk=chunk), MovingBaseline(means=[0.0] * total.shape[1]))
    assert found.shape == total.shape
    assert np.isfinite(found).all()
    assert not found[failed].any()


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
@given(rewards=REWARDS, random=st.randoms(use_true_random=False))
def test_advantages_do_not_hang_on_who_is_which_sibling(name: str, rewards: NDArray[np.float64], random):
    order = list(range(len(rewards)))
    random.shuffle(order)
    mixed, straight = (
        advantages(name, scored(total=some, a=some), MovingBaseline(means=[0.5] * some.shape[1]))
        for some in (rewards[order], rewards)
    )
    assert np.allclose(mixed, straight[order], rtol=0, atol=1e-8)
