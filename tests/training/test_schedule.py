from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.training.schedule import episode_order, longest, question_subset, reply_seed


def episode(questions: int, name: str = "e", chunks: int = 1) -> Episode:
    asked = tuple(Question(f"q{n}", "?", ("x",)) for n in range(questions))
    return Episode(name, "made", "AR", tuple(Chunk(t, "text") for t in range(chunks)), asked)


@given(st.integers(1, 20), st.integers(0, 60), st.integers(0, 60), st.integers(0, 9))
def test_a_longer_run_begins_like_a_shorter_one(count, first, second, seed):
    shorter, longer = sorted([first, second])
    assert episode_order(count, longer, seed)[:shorter] == episode_order(count, shorter, seed)


@given(st.integers(1, 20), st.integers(1, 5), st.integers(0, 9))
def test_every_pass_plays_every_stream_once(count, passes, seed):
    order = episode_order(count, count * passes, seed)
    assert Counter(order) == dict.fromkeys(range(count), passes)
    assert sorted(order[:count]) == list(range(count))


def test_passes_and_seeds_differ():
    order = episode_order(50, 100, seed=1)
    assert order[:50] != order[50:]
    assert order != episode_order(50, 100, seed=2)


def test_without_streams_there_is_no_order():
    with pytest.raises(ValueError, match="no stream to train on"):
        episode_order(0, 3, seed=0)


@pytest.mark.parametrize(
    ("questions", "share", "floor", "drawn"),
    [
        (100, 0.2, 4, 20),
        (21, 0.2, 4, 5),
        (22, 0.2, 4, 5),
        (26, 0.2, 4, 6),
        (10, 0.2, 4, 4),
        (3, 0.2, 4, 3),
        (8, 1.0, 1, 8),
    ],
)
def test_a_share_is_drawn_rounded_up_at_least_the_floor_or_all(questions, share, floor, drawn):
    assert len(question_subset(share, floor, 0, 1)(episode(questions))) == drawn


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.integers(1, 10), st.integers(0, 5))
def test_what_is_drawn_are_different_questions_in_their_own_order(questions, share, floor, step):
    stream = episode(questions)
    drawn = question_subset(share, floor, 0, step)(stream)
    assert len(drawn) == min(questions, max(floor, math.ceil(share * questions)))
    places = [stream.questions.index(question) for question in drawn]
    assert places == sorted(set(places))


def test_updates_streams_and_seeds_draw_anew():
    drawn = {
        question_subset(0.1, 4, seed, step)(episode(100, name))
        for seed, step, name in [
            (0, 1, "a-0001"),
            (0, 2, "a-0001"),
            (1, 1, "a-0001"),
            (0, 1, "a-0002"),
            (0, 1, "x" * 40),
        ]
    }
    assert len({tuple(question.id for question in one) for one in drawn}) == 5


def test_streams_whose_names_differ_only_at_their_beginning_draw_differently():
    one, other = (question_subset(0.1, 4, 0, 1)(episode(100, f"{source}-train-squad-long-0001")) for source in "ab")
    assert one != other


PRINT_DRAW = """
from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.training.schedule import episode_order, question_subset
asked = tuple(Question(f"q{n}", "?", ("x",)) for n in range(40))
stream = Episode("stream-ü-0001", "made", "AR", (Chunk(0, "text"),), asked)
print([question.id for question in question_subset(0.2, 4, 3, 7)(stream)], episode_order(9, 20, 3))
"""


def test_another_process_draws_the_same():
    told = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DRAW],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(told) == 1
    assert told.pop().count("q") == 8


def test_a_batch_is_laid_out_for_the_longest_stream():
    assert longest([episode(1, chunks=2), episode(1, chunks=5), episode(1)]) == 5


def test_every_reply_is_drawn_by_a_seed_of_its_own():
    places = [
        (seed, u, e, g, t) for seed in range(2) for u in (1, 2, 12) for e in range(3) for g in range(4) for t in (0, 1)
    ]
    seeds = [reply_seed(*place) for place in places]
    assert len(set(seeds)) == len(seeds)
    assert reply_seed(0, 1, 0, 0, 0) == 41298145725789
    assert max(seeds) < 2**48  # what JSON and every server can carry
