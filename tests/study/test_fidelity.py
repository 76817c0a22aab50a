from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from finemem_pipeline.credit import SCHEMES
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.study.families import streams
from finemem_pipeline.study.fidelity import given_cases, idle_share, measure, planted_cases, precision_at_gold, spearman
from finemem_pipeline.study.ledger import Ledger


def make_reader() -> Reader:
    return Reader(BM25(), ExtractiveReasoner(), cache=AnswerCache(None))


def words(text: str) -> int:
    return len(text.split())


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_spearman_is_that_of_the_statistics_books_ties_included():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 4, 8) / 4, rng.integers(0, 4, 8) / 4
        if np.ptp(a) and np.ptp(b):
            assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_spearman_is_none_under_a_constant_truth_and_zero_for_a_constant_credit():
    assert spearman(array(1, 2, 3), array(0.5, 0.5, 0.5)) is None
    assert spearman(array(0.3, 0.3, 0.3), array(1, 2, 3)) == 0.0
    assert spearman(array(0.1 + 0.2, 0.3, 0.3), array(1, 2, 3)) == 0.0  # the noise of adding up is no rank


def test_precision_counts_gold_among_the_most_credited_and_ties_as_if_drawn():
    assert precision_at_gold(array(0.9, 0.1, 0.5, 0.0), {0, 2}) == 1.0
    assert precision_at_gold(array(0.9, 0.6, 0.5, 0.0), {0, 2}) == 0.5
    assert precision_at_gold(array(0.25, 0.25, 0.25, 0.25), {0, 2}) == 0.5
    assert precision_at_gold(array(0.9, 0.5, 0.5, 0.0), {0, 1}) == 0.75
    assert precision_at_gold(array(1.0, 0.0), set()) is None
    assert precision_at_gold(array(1.0, 0.0), {0, 1}) is None


def test_idle_share_is_what_went_to_steps_that_caused_nothing():
    assert idle_share(array(0.5, 0.25, 0.25), array(1.0, 0.0, -0.5)) == 0.5
    assert idle_share(array(0.5, -0.25, 0.5), array(1.0, 0.0, 1.0)) == 0.0
    assert idle_share(array(0.0, 0.0), array(1.0, 0.0)) is None


def test_every_scheme_is_measured_on_the_same_rollout_and_pays_for_its_own_probes(tmp_path):
    cases = list(planted_cases(["clean"], [5], ["hoarder"], range(1)))
    rows = measure(cases, list(SCHEMES), make_reader, words, 4, Ledger(tmp_path / "rows.jsonl"))
    assert [row["scheme"] for row in rows] == list(SCHEMES)
    assert {(row["family"], row["steps"], row["habit"], row["seed"]) for row in rows} == {("clean", 5, "hoarder", 0)}
    calls = {row["scheme"]: row["calls"] for row in rows}
    assert {scheme for scheme, paid in calls.items() if paid} == {"leave_one_out", "shapley"}
    [episode] = streams("clean", 5, 0)
    assert calls["leave_one_out"] <= 2 * len(episode.questions)
    assert calls["shapley"] <= 3 * len(episode.questions)


def test_cited_follows_the_causes_better_than_uniform_on_a_hoarder(tmp_path):
    cases = list(planted_cases(["distractors"], [10], ["hoarder"], range(3)))
    rows = measure(cases, ["uniform", "cited"], make_reader, words, 4, Ledger(tmp_path / "rows.jsonl"))
    mean = {
        scheme: np.mean([row["spearman"]["shapley"] for row in rows if row["scheme"] == scheme])
        for scheme in ("uniform", "cited")
    }
    assert mean["uniform"] == 0.0
    assert mean["cited"] > 0.4


def test_what_was_measured_before_is_read_back(tmp_path):
    cases = list(planted_cases(["clean"], [5], ["faithful", "copier"], range(1)))
    place = tmp_path / "rows.jsonl"
    first = measure(cases[:1], ["uniform"], make_reader, words, 2, Ledger(place))

    def none_is_made() -> Reader:
        raise AssertionError("played again")

    assert measure(cases[:1], ["uniform"], none_is_made, words, 2, Ledger(place)) == first
    both = measure(cases, ["uniform"], make_reader, words, 2, Ledger(place))
    assert both[: len(first)] == first
    assert len(both) == 2


def test_given_streams_are_played_by_every_habit_with_every_seed():
    episodes = streams("clean", 5, 0, count=2)
    cases = list(given_cases(episodes, ["faithful", "deleter"], range(3)))
    assert len(cases) == 12
    assert {case.cell["stream"] for case in cases} == {episode.id for episode in episodes}
