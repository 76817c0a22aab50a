import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finemem_pipeline.evaluation.bootstrap import paired_difference, score_interval, tokens_interval

tables = st.lists(
    st.lists(st.none() | st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=4), min_size=1, max_size=6
)


def test_the_difference_is_the_difference_of_the_means_over_sources(stream):
    a = [stream([1.0, 1.0], stream="s1"), stream([1.0], stream="s2"), stream([0.5], source="mquake", stream="m1")]
    b = [stream([0.0, 1.0], stream="s1"), stream([0.0], stream="s2"), stream([1.0], source="mquake", stream="m1")]
    found = paired_difference(a, b, resamples=200)
    assert found.mean == 0.125  # squad (0.5 + 1.0) / 2 = 0.75, mquake -0.5, mean of the two
    assert (found.n_sources, found.n_streams, found.n_questions, found.unscored) == (2, 3, 4, 0)


def test_only_questions_that_both_have_scored_are_compared_and_the_rest_is_counted(stream):
    a = [stream([1.0, None, 1.0], stream="s1"), stream([1.0], stream="only a")]
    b = [stream([0.0, 1.0, None], stream="s1")]
    found = paired_difference(a, b, resamples=50)
    assert (found.mean, found.n_questions, found.n_streams, found.unscored) == (1.0, 1, 1, 3)


def test_nothing_in_common_has_no_difference(stream):
    found = paired_difference([stream([None])], [stream([1.0])], resamples=50)
    assert (found.mean, found.low, found.high, found.error, found.unscored) == (None, None, None, None, 1)
    assert found.excludes_zero is False
    assert found.detectable is None


def test_a_single_stream_is_judged_by_its_questions(stream):
    found = paired_difference([stream([1.0, 1.0, 0.0, 1.0])], [stream([0.0, 0.0, 0.0, 0.0])])
    assert found.mean == 0.75
    assert found.low == 0.25
    assert found.high == 1.0


@given(tables)
@settings(max_examples=30, deadline=None)
def test_a_manager_compared_with_itself_differs_by_exactly_nothing(stream, scores):
    results = [stream(row, stream=f"s{place}", source=f"{place % 2}") for place, row in enumerate(scores)]
    found = paired_difference(results, results, resamples=50)
    if found.n_questions:
        assert (found.mean, found.low, found.high, found.error) == (0.0, 0.0, 0.0, 0.0)
        assert not found.excludes_zero
        assert found.detectable is None


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_streams_and_questions_does_not_matter(stream, scores, random):
    a = [stream(row, stream=f"s{place}", source=f"{place % 2}") for place, row in enumerate(scores)]
    b = [stream([0.5] * len(row), stream=f"s{place}", source=f"{place % 2}") for place, row in enumerate(scores)]
    shuffled = [replace(s, questions=tuple(random.sample(s.questions, len(s.questions)))) for s in a]
    random.shuffle(shuffled)
    assert paired_difference(shuffled, b, resamples=50) == paired_difference(a, b[::-1], resamples=50)


def test_swapping_the_managers_turns_the_difference_round(stream):
    a = [stream([1.0, 0.0, 1.0], stream=f"s{n}") for n in range(5)]
    b = [stream([0.0, 0.0, 1.0], stream=f"s{n}") for n in range(5)]
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there.mean == pytest.approx(1 / 3)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.excludes_zero
    assert back.excludes_zero


def test_the_seed_decides_the_interval(stream):
    a = [stream([1.0, 0.0, 1.0, 0.0], stream=f"s{n}") for n in range(7)]
    b = [stream([0.0, 0.0, 1.0, 1.0], stream=f"s{n}") for n in range(7)]
    assert paired_difference(a, b, seed=3) == paired_difference(a, b, seed=3)
    assert paired_difference(a, b, seed=3).error != paired_difference(a, b, seed=4).error


def test_detectable_is_power_of_four_in_five(stream):
    a = [stream([1.0, 0.0, 1.0, 0.0], stream=f"s{n}") for n in range(7)]
    b = [stream([0.0, 0.0, 1.0, 1.0], stream=f"s{n}") for n in range(7)]
    found = paired_difference(a, b)
    assert found.detectable == pytest.approx(2.8016 * found.error, rel=1e-4)


@pytest.mark.parametrize(("streams", "questions", "between"), [(4, 5, 0.2), (12, 4, 0.0), (12, 4, 0.3)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(stream, streams, questions, between):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(150):
        true = 0.1 + between * rng.standard_normal(streams)
        drawn = true[:, None] + 0.5 * rng.standard_normal((streams, questions))
        a = [stream(list(row), stream=f"s{n}") for n, row in enumerate(drawn)]
        b = [stream([0.0] * questions, stream=f"s{n}") for n in range(streams)]
        found = paired_difference(a, b, resamples=300)
        covered += found.low <= 0.1 <= found.high
    assert covered / 150 >= 0.9


def test_two_thousand_resamples_of_a_hundred_streams_take_well_under_a_second(stream):
    rng = np.random.default_rng(0)
    a = [stream(rng.random(10).tolist(), stream=f"s{n}", source=f"{n % 4}") for n in range(100)]
    b = [stream(rng.random(10).tolist(), stream=f"s{n}", source=f"{n % 4}") for n in range(100)]
    began = time.process_time()
    paired_difference(a, b)
    assert time.process_time() - began < 1.0


def test_a_managers_own_interval_holds_its_mean_and_is_absent_without_scores(stream):
    results = [stream([1.0, 0.0], stream=f"s{n}", tokens=100 + n) for n in range(9)]
    score, tokens = score_interval(results), tokens_interval(results)
    assert score.low < 0.5 < score.high
    assert 100 <= tokens.low < 104 < tokens.high <= 108
    assert score_interval([stream([None])]) is None
    assert tokens_interval([]) is None


def test_two_rebuilds_of_a_question_are_drawn_with_replacement(stream):
    """The mean of two draws of {0, 1} is 0, ½ or 1 with chances ¼, ½, ¼: standard deviation √⅛."""
    rebuilds = [stream([1.0], seed=0), stream([0.0], seed=1)]
    found = paired_difference(rebuilds, [stream([0.0])], resamples=4000)
    assert (found.mean, found.low, found.high, found.n_questions) == (0.5, 0.0, 1.0, 1)
    assert found.error == pytest.approx(0.125**0.5, rel=0.05)


def test_rebuilds_of_different_streams_are_drawn_apart_from_each_other(stream):
    """100 streams, each one rebuild right and one wrong: the noise of a rebuild averages out over the streams."""
    rebuilds = [stream([1.0 - seed], stream=f"s{n:03}", seed=seed) for n in range(100) for seed in (0, 1)]
    found = paired_difference(rebuilds, [stream([0.0], stream=f"s{n:03}") for n in range(100)], resamples=1000)
    assert found.mean == 0.5
    assert found.error == pytest.approx(0.125**0.5 / 10, rel=0.1)


def test_a_training_seed_is_drawn_once_for_all_sources(stream):
    """One seed right everywhere, one wrong everywhere: ten sources do not make it surer."""
    trained = [stream([1.0 - seed], source=f"{n}", training_seed=seed) for n in range(10) for seed in (0, 1)]
    found = paired_difference(trained, [stream([0.0], source=f"{n}") for n in range(10)], resamples=4000)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    assert found.error == pytest.approx(0.125**0.5, rel=0.05)


def test_managers_with_the_same_training_seeds_are_compared_seed_by_seed(stream):
    """Seeds differ by a half, the managers by a tenth within each seed."""
    a = [stream([0.1 + 0.5 * seed], training_seed=seed) for seed in (0, 1)]
    b = [stream([0.5 * seed], training_seed=seed) for seed in (0, 1)]
    other = [stream([0.5 * (seed - 7)], training_seed=seed) for seed in (7, 8)]
    together, apart = paired_difference(a, b, resamples=500), paired_difference(a, other, resamples=500)
    assert (together.low, together.high) == pytest.approx((0.1, 0.1))
    assert together.mean == apart.mean == pytest.approx(0.1)
    assert (apart.low, apart.high) == pytest.approx((-0.4, 0.6))


def test_a_question_is_compared_on_the_rebuilds_that_have_scored_it(stream):
    a = [stream([1.0, None], seed=0), stream([None, 0.5], seed=1), stream([0.0, None], seed=2)]
    found = paired_difference(a, [stream([0.0, 0.0])], resamples=300)
    assert (found.mean, found.n_questions, found.unscored) == (0.5, 2, 0)  # (0.5 + 0.5) / 2
    assert 0.0 <= found.low < found.high <= 1.0


def test_streams_of_the_same_name_in_two_benchmarks_are_two_streams(stream):
    a = [stream([1.0], benchmark="one"), stream([0.0], benchmark="other")]
    b = [stream([0.0], benchmark="one"), stream([0.0], benchmark="other")]
    found = paired_difference(a, b, resamples=50)
    assert (found.mean, found.n_sources, found.n_streams) == (0.5, 2, 2)


pairs = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=2)
seeded = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 1), pairs),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[:3],
)


@given(seeded)
@settings(max_examples=40, deadline=None)
def test_means_of_rebuilds_stay_between_the_least_and_the_largest_score(stream, rows):
    results = [stream(scores, stream=f"s{s}", seed=r, training_seed=k) for k, r, s, scores in rows]
    zero = [stream([0.0, 0.0], stream=f"s{s}") for s in (0, 1)]
    found = paired_difference(results, zero, resamples=60)
    scores = [score for *_, row in rows for score in row]
    assert min(scores) - 1e-9 <= found.low <= found.high <= max(scores) + 1e-9
    assert min(scores) - 1e-9 <= found.mean <= max(scores) + 1e-9


@given(seeded, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_rebuilds_that_are_all_alike_are_like_one_and_their_order_does_not_matter(stream, rows, random):
    once = {s: scores for *_, s, scores in rows}
    alone = [stream(scores, stream=f"s{s}") for s, scores in once.items()]
    results = [stream(once[s], stream=f"s{s}", seed=r) for s in once for r in range(3)]
    random.shuffle(results)
    zero = [stream([0.0, 0.0], stream=f"s{s}") for s in once]
    assert paired_difference(results, zero, resamples=60).mean == paired_difference(alone, zero, resamples=60).mean
    assert paired_difference(results, results[::-1], resamples=20).mean == 0.0
