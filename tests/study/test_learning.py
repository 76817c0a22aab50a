from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finemem_pipeline.benchmarks.planted import PlantedSpec
from finemem_pipeline.memory import MemoryBank
from finemem_pipeline.rewards import score_group, variant
from finemem_pipeline.study import learning
from finemem_pipeline.study.learning import (
    Exam,
    Practice,
    collapse,
    fresh_streams,
    learn,
    make_reader,
    policy_gradient,
    practise,
    study,
    train,
)
from finemem_pipeline.study.policy import KEEP, WEIGHTS, SentencePolicy, chances, decisions, start_weights

SMALL = Practice(
    spec=PlantedSpec(facts_per_chunk=1, distractors_per_chunk=3, corrections=0.0),
    updates=4,
    siblings=3,
    held_out=3,
    check_every=2,
)
CHUNKS = variant("chunks", {"chunk": {"weight": 1.0}})
OUTCOME = variant("outcome", {"outcome": {"weight": 1.0, "spread": {"scheme": "uniform"}}})
EVERYTHING, NOTHING = np.zeros(WEIGHTS), np.zeros(WEIGHTS)
EVERYTHING[0], NOTHING[0] = 9.0, -9.0
EVERYTHING[len(KEEP)] = -30.0


def test_the_gradient_is_the_mean_over_siblings_and_steps_of_advantage_times_score():
    weights = start_weights()
    [episode] = fresh_streams(SMALL, 2, 0, 1)
    [group] = practise(SentencePolicy(weights, 0), [episode], make_reader(SMALL), [], SMALL)
    advantages = np.zeros((3, 2))
    advantages[1] = 2.0, -3.0
    first, second = group.rollouts[1].steps
    rows, taken = decisions(episode.chunks[0].text, MemoryBank(), first.completion)
    later_rows, later_taken = decisions(episode.chunks[1].text, first.bank, second.completion)
    by_hand = 2.0 * (taken - chances(weights, rows)) @ rows
    by_hand -= 3.0 * (later_taken - chances(weights, later_rows)) @ later_rows
    np.testing.assert_allclose(policy_gradient(weights, episode, group, advantages), by_hand / 6)
    assert not policy_gradient(weights, episode, group, np.zeros((3, 2))).any()


def test_only_what_a_variant_reads_is_asked():
    [episode] = fresh_streams(SMALL, 4, 0, 1)
    own = sum(len(chunk.questions) for chunk in episode.chunks)
    asked = {}
    for each in (
        OUTCOME,
        CHUNKS,
        variant("delta", {"delta_chunk": {"weight": 1.0}}),
    ):
        reader = make_reader(SMALL)
        practise(SentencePolicy(start_weights(), 0), [episode], reader, [each], SMALL)
        asked[each.name] = reader.usage.questions / SMALL.siblings - len(episode.questions)
    assert asked == {"outcome": 0, "chunks": own, "delta": 2 * own}


def test_streams_follow_from_T_and_seed_and_none_comes_twice():
    first = [episode.chunks for episode in fresh_streams(SMALL, 3, 5, 6)]
    assert first == [episode.chunks for episode in fresh_streams(SMALL, 3, 5, 6)]
    assert len(set(first)) == 6
    assert not set(first) & {episode.chunks for episode in fresh_streams(SMALL, 3, 6, 6)}


def test_keeping_the_facts_alone_beats_keeping_everything():
    exam = Exam(6, replace(SMALL, held_out=8, spec=replace(SMALL.spec, facts_per_chunk=2, distractors_per_chunk=6)))
    everything, nothing = exam.sit(EVERYTHING), exam.sit(NOTHING)
    assert everything["score"] < 0.9 * exam.attainable <= 0.9
    assert (everything["kept"], everything["facts"]) == (1.0, 1.0)
    assert everything["corrected"] is None  # nothing is corrected there
    assert (nothing["kept"], nothing["facts"], nothing["score"], nothing["tokens"]) == (0.0, 0.0, 0.0, 0.0)
    assert everything["chance"] == pytest.approx(1 / (1 + np.exp(-9)), abs=1e-6)


def test_the_exam_tells_corrected_facts_apart():
    exam = Exam(4, replace(SMALL, spec=replace(SMALL.spec, corrections=0.5)))
    beside, over = exam.sit(EVERYTHING), exam.sit(np.where(np.arange(WEIGHTS) == len(KEEP), 30.0, EVERYTHING))
    assert 0 <= beside["corrected"] <= 1
    assert over["tokens"] < beside["tokens"]
    assert beside["corrected"] != beside["score"]


def test_practice_teaches_to_answer():
    practice = replace(SMALL, updates=12, learning_rate=3.0, siblings=6, overwrite=1e-9)
    row = learn(CHUNKS, 3, 0, practice)
    assert row["curve"][0]["score"] == 0.0
    assert row["final_score"] >= 0.6 * row["attainable"]
    assert row == learn(CHUNKS, 3, 0, practice)


def test_a_goal_that_was_reached_tells_what_it_took():
    row = learn(CHUNKS, 3, 0, replace(SMALL, updates=12, learning_rate=3.0, siblings=6, goal=0.3))
    there = next(at for at in row["curve"] if at["update"] == row["updates_to_goal"])
    assert there["score"] >= 0.3 * row["attainable"]
    assert (row["calls_to_goal"], row["questions_to_goal"]) == (there["calls"], there["questions"])
    assert row["tokens_at_goal"] == there["tokens"] > 0
    assert 0 < row["calls_to_goal"] < row["questions_to_goal"]


def test_exams_are_rarer_after_the_first_few_updates_and_the_mean_score_weighs_updates_alike(monkeypatch):
    scores = iter([0.0, 0.4, 0.4, 0.8, 0.8])
    monkeypatch.setattr(learning, "FIRST_FEW", 1)
    marks = {"facts": 0.0, "tokens": 0.0, "kept": 0.0, "chance": 0.5, "corrected": None}
    monkeypatch.setattr(Exam, "sit", lambda *_: {"score": next(scores), **marks})
    row = learn(CHUNKS, 2, 0, replace(SMALL, updates=5))
    assert [at["update"] for at in row["curve"]] == [0, 1, 2, 4, 5]
    assert row["mean_score"] == pytest.approx((0.2 + 0.4 + 2 * 0.6 + 0.8) / 5)


def test_a_goal_that_was_not_reached_is_no_number():
    row = learn(OUTCOME, 2, 0, replace(SMALL, learning_rate=1e-9))
    assert [row["updates_to_goal"], row["calls_to_goal"], row["questions_to_goal"], row["tokens_at_goal"]] == [None] * 4
    assert row["collapsed"] is None  # it is slow, and still where it began
    assert [at["update"] for at in row["curve"]] == [0, 1, 2, 3, 4]


def test_an_update_climbs_by_the_learning_rate_along_the_gradient():
    first, second, *_ = (policy.weights for policy, _ in train(CHUNKS, 2, 7, SMALL))
    [episode] = fresh_streams(SMALL, 2, 7, 1)
    [group] = practise(SentencePolicy(start_weights(), [7, 2]), [episode], make_reader(SMALL), [CHUNKS], SMALL)
    gradient = policy_gradient(start_weights(), episode, group, score_group(group, CHUNKS).advantages)
    assert gradient.any()
    np.testing.assert_array_equal(first, start_weights())
    np.testing.assert_allclose(second, start_weights() + SMALL.learning_rate * gradient)


@pytest.mark.parametrize(
    ("scores", "chance", "how"),
    [
        ([0.0, 0.6, 0.5], 0.4, None),
        ([0.0, 0.6, 0.3], 0.4, "fell"),
        ([0.0, 0.6, 0.0, 0.6], 0.4, None),  # it recovered
        ([0.0, 0.0], 0.3, None),  # slow, not collapsed
        ([0.0, 0.6, 0.0], 0.05, "skips"),
        ([0.0, 0.6, 0.6], 0.95, "copies"),
    ],
)
def test_collapsed_runs_are_told_apart(scores, chance, how):
    assert collapse([{"score": score, "chance": chance} for score in scores]) == how


def test_a_study_plays_no_run_twice(tmp_path, monkeypatch):
    ledger, variants = tmp_path / "runs.jsonl", {"chunks": CHUNKS, "outcome": OUTCOME}
    reports = []
    rows = study(variants, [2], [0, 1], SMALL, ledger, on_run=lambda done, total: reports.append((done, total)))
    assert [(row["variant"], row["steps"], row["seed"]) for row in rows] == [
        ("chunks", 2, 0), ("chunks", 2, 1), ("outcome", 2, 0), ("outcome", 2, 1),
    ]  # fmt: skip
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:3]) + lines[3][:20])  # killed while writing
    played = []
    monkeypatch.setattr(learning, "learn", lambda *run: played.append(run[:3]) or learn(*run))
    assert study(variants, [2], [0, 1], SMALL, ledger) == rows
    assert played == [(OUTCOME, 2, 1)]
    assert ledger.read_bytes() == b"".join(lines)


def test_workers_give_the_same_rows(tmp_path):
    alone = study({"chunks": CHUNKS}, [2], [0, 1], SMALL, tmp_path / "alone.jsonl")
    assert study({"chunks": CHUNKS}, [2], [0, 1], SMALL, tmp_path / "together.jsonl", workers=2) == alone


def test_another_practice_is_another_run(tmp_path):
    ledger = tmp_path / "runs.jsonl"
    [short] = study({"chunks": CHUNKS}, [2], [0], SMALL, ledger)
    [long] = study({"chunks": CHUNKS}, [2], [0], replace(SMALL, updates=6), ledger)
    assert (short["curve"][-1]["update"], long["curve"][-1]["update"]) == (4, 6)
