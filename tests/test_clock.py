from __future__ import annotations

import time
from contextlib import suppress

import pytest

from finemem_pipeline.clock import Clock


@pytest.fixture
def hand(monkeypatch):
    """Moves the time by hand: hand(2.0) lets two seconds pass."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_seconds_add_up_by_phase_and_nobody_is_charged_for_the_time_between(hand):
    clock = Clock()
    for seconds in (1.0, 2.0):
        with clock("play"):
            hand(seconds)
        hand(50.0)
    with clock("score"):
        hand(0.5)
    assert clock.seconds == {"play": 3.0, "score": 0.5}


def test_an_inner_phase_is_not_counted_in_the_outer_one(hand):
    clock = Clock()
    with clock("read"):
        hand(1.0)
        with clock("retrieve"):
            hand(4.0)
            with clock("read"):
                hand(8.0)
        hand(2.0)
    assert clock.seconds == {"read": 11.0, "retrieve": 4.0}


def test_a_phase_that_fails_is_counted_and_closed(hand):
    clock = Clock()
    with clock("read"):
        with suppress(RuntimeError), clock("retrieve"):
            hand(3.0)
            raise RuntimeError
        hand(1.0)
    hand(9.0)
    assert clock.seconds == {"read": 1.0, "retrieve": 3.0}


def test_reset_gives_the_seconds_and_begins_anew(hand):
    clock = Clock()
    with clock("play"):
        hand(1.0)
    assert clock.reset() == {"play": 1.0}
    assert clock.reset() == {}
