"""No line is lost, and none comes twice."""

from __future__ import annotations

from finemem_pipeline.cluster.logs import Cursor


def test_a_line_that_comes_again_after_a_lost_connection_is_known():
    cursor = Cursor()
    lines = [("2026-01-01T00:00:00.1Z", "a"), ("2026-01-01T00:00:00.12Z", "b"), ("2026-01-01T00:00:01.000000001Z", "c")]
    assert [cursor.new(*line) for line in lines] == [True, True, True]
    assert [cursor.new(*line) for line in lines] == [False, False, False]
    assert cursor.since == "2026-01-01T00:00:01.000000001Z"
    assert cursor.new("2026-01-01T00:00:01.000000002Z", "c")


def test_fractions_are_compared_as_numbers():
    cursor = Cursor()
    assert cursor.new("2026-01-01T00:00:00.9Z", "a")
    assert not cursor.new("2026-01-01T00:00:00.10Z", "an earlier line")


def test_two_lines_of_the_same_moment_are_two():
    cursor = Cursor()
    assert cursor.new("2026-01-01T00:00:00.5Z", "a")
    assert cursor.new("2026-01-01T00:00:00.5Z", "b")
    assert not cursor.new("2026-01-01T00:00:00.5Z", "a")
