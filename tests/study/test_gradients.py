from __future__ import annotations

import numpy as np
import pytest

from finemem_pipeline.benchmarks.planted import PlantedSpec
from finemem_pipeline.rewards import variant
from finemem_pipeline.study.gradients import gradient_noise, half_trained, signal, true_gradients, variant_gradients
from finemem_pipeline.study.learning import Practice, fresh_streams, make_reader, practise
from finemem_pipeline.study.policy import SentencePolicy, start_weights

SMALL = Practice(spec=PlantedSpec(facts_per_chunk=1, distractors_per_chunk=2), siblings=4, updates=8, check_every=1)


def test_the_signal_of_two_estimates_by_hand():
    found = signal(np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    # |μ|² = 2, mean |g|² = 3; the mean is (1.5, 0.5), the true gradient (1, 0)
    assert found["variance"]["value"] == 1.0
    assert found["snr"]["value"] == 2.0
    assert found["cosine"]["value"] == pytest.approx(1.5 / np.sqrt(2))


def test_a_known_signal_is_found_and_lies_in_its_interval():
    random = np.random.default_rng(0)
    mean = np.array([0.3, 0.0, 0.4, 0.0, 0.0])  # |μ|² = 0.25
    found = signal(mean + random.normal(size=(400, 5)), mean + random.normal(size=(400, 5)))
    assert found["variance"]["value"] == pytest.approx(5.0, rel=0.1)
    assert found["snr"]["low"] < 0.25 / 5 < found["snr"]["high"]
    assert found["cosine"]["low"] < 1.0 < found["cosine"]["high"]


def test_noise_alone_has_no_signal_where_the_square_of_its_mean_would_say_otherwise():
    random = np.random.default_rng(1)
    found = [signal(random.normal(size=(20, 10)), np.ones((2, 10)))["snr"]["value"] for _ in range(100)]
    assert np.mean(found) == pytest.approx(0.0, abs=0.005)  # the naive estimate would be 1/20


def test_a_gradient_across_the_true_one_has_cosine_0():
    random = np.random.default_rng(2)
    across = np.array([0.0, 1.0]) + 0.1 * random.normal(size=(200, 2))
    found = signal(across, np.array([1.0, 0.0]) + 0.1 * random.normal(size=(200, 2)))
    assert found["cosine"]["value"] == pytest.approx(0.0, abs=0.03)


def test_without_a_signal_there_is_no_direction():
    estimates = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert signal(estimates, np.ones((2, 2)))["cosine"] == {"value": None, "low": None, "high": None}


def test_the_true_gradient_leads_to_better_scores():
    def mean_score(weights: np.ndarray) -> float:
        policy = SentencePolicy(weights, 5)
        groups = practise(policy, list(fresh_streams(SMALL, 2, 77, 30)), make_reader(SMALL), [], SMALL)
        answers = [answer for group in groups for rollout in group.rollouts for answer in rollout.answers]
        return float(np.mean([answer.score for answer in answers]))

    start = start_weights()
    uphill = true_gradients(start, 2, 0, SMALL, 40).mean(axis=0)
    there = start + 2 * uphill / np.linalg.norm(uphill)
    assert mean_score(there) > mean_score(start) + 0.1


def test_the_scale_of_the_only_reward_does_not_turn_its_gradient():
    variants = {
        name: variant(name, {"outcome": {"weight": 1.0, "spread": spread}})
        for name, spread in {"plain": {"scheme": "uniform"}, "scaled": {"scheme": "uniform", "scale": "T"}}.items()
    }
    found = variant_gradients(variants, start_weights(), 3, 0, SMALL, 5)
    (plain, share), (scaled, other) = found["plain"], found["scaled"]
    np.testing.assert_allclose(plain, scaled, rtol=0.01, atol=1e-12)
    assert plain.shape == (5, len(start_weights()))
    assert share["outcome"] == pytest.approx(1.0) == other["outcome"]


def test_the_share_of_a_reward_grows_with_its_scale():
    variants = {
        name: variant(name, {"outcome": {"weight": 1.0, "spread": spread}, "chunk": {"weight": 0.5}})
        for name, spread in {"plain": {"scheme": "uniform"}, "scaled": {"scheme": "uniform", "scale": "T"}}.items()
    }
    rows = gradient_noise(variants, start_weights(), 3, 0, SMALL, groups=5, truth_groups=5)
    plain, scaled = (row["shares"] for row in rows)
    assert sum(plain.values()) == pytest.approx(1.0) == sum(scaled.values())
    assert plain["outcome"] < scaled["outcome"]


def test_every_variant_gets_a_row_and_the_same_seed_the_same_digits():
    variants = {
        "chunks": variant("chunks", {"chunk": {"weight": 1.0}}),
        "alone": variant("alone", {"chunk": {"weight": 1.0}, "advantage": "moving_average"}),
    }
    rows = gradient_noise(variants, start_weights(), 2, 0, SMALL, groups=6, truth_groups=6)
    assert [(row["variant"], row["steps"], row["groups"]) for row in rows] == [("chunks", 2, 6), ("alone", 2, 6)]
    assert all(row["variance"]["value"] > 0 for row in rows)
    assert rows == gradient_noise(variants, start_weights(), 2, 0, SMALL, groups=6, truth_groups=6)


def test_half_trained_is_past_the_start_or_nothing():
    chunks = variant("chunks", {"chunk": {"weight": 1.0}})
    fast = Practice(spec=SMALL.spec, siblings=4, updates=40, learning_rate=2.0, held_out=8)
    weights = half_trained(chunks, 2, 0, fast)
    assert weights is not None
    assert (weights != start_weights()).any()
    assert half_trained(chunks, 2, 0, Practice(spec=SMALL.spec, updates=1, siblings=2, learning_rate=1e-9)) is None
