"""No line is lost, and none comes twice."""

from __future__ import annotations

import pytest

from finemem_pipeline.cluster import render
from finemem_pipeline.cluster.api import Unreachable
from finemem_pipeline.cluster.logs import Cursor


def test_a_line_that_comes_again_after_a_lost_connection_is_known():
    cursor = Cursor()
    lines = ["2026-01-01T00:00:00.1Z a", "2026-01-01T00:00:00.12Z b", "2026-01-01T00:00:01.000000001Z c"]
    assert [cursor.new(line) for line in lines] == ["a", "b", "c"]
    assert [cursor.new(line) for line in lines] == [None, None, None]
    assert cursor.since == "2026-01-01T00:00:01Z"
    assert cursor.new("2026-01-01T00:00:01.000000002Z c") == "c"


def test_two_lines_of_the_same_moment_are_two():
    cursor = Cursor()
    assert cursor.new("2026-01-01T00:00:00.5Z a") == "a"
    assert cursor.new("2026-01-01T00:00:00.5Z b") == "b"
    assert cursor.new("2026-01-01T00:00:00.5Z a") is None


def test_a_line_of_standard_error_that_comes_late_is_not_lost():
    cursor = Cursor()
    assert cursor.new("2026-01-01T00:00:01.000000009Z out") == "out"
    assert cursor.new("2026-01-01T00:00:01.000000007Z error") == "error"
    assert cursor.new("2026-01-01T00:00:00.999999999Z error") == "error"
    assert cursor.new("2026-01-01T00:00:00.999999999Z error") is None
    assert cursor.since == "2026-01-01T00:00:01Z"


def test_the_clock_of_a_node_may_be_in_another_zone():
    cursor = Cursor()
    assert cursor.new("2026-10-25T02:59:59.1+02:00 summer") == "summer"
    assert cursor.new("2026-10-25T02:00:01.1+01:00 winter") == "winter"
    assert cursor.since == "2026-10-25T01:00:01Z"


@pytest.mark.parametrize(
    "line",
    ["failed to create fsnotify watcher: too many open files", "unable to retrieve container logs for x://1"],
)
def test_what_a_node_says_of_its_own_is_told_once_and_is_no_place_to_go_on_from(line):
    cursor = Cursor()
    assert cursor.new("2026-01-01T00:00:00Z a") == "a"
    assert [cursor.new(line), cursor.new(line)] == [line, None]
    assert cursor.since == "2026-01-01T00:00:00Z"
    assert cursor.new("2026-01-01T00:00:01Z b") == "b"


@pytest.mark.timeout(120)
def test_a_node_that_is_gone_when_the_job_is_over_is_not_waited_for(api, cluster, job, monkeypatch):
    monkeypatch.setattr("finemem_pipeline.cluster.logs.PAUSE_SECONDS", 0.05)
    handle = cluster.submit(render(job("print('hello')")))
    cluster.wait(handle)

    def away(path, query, silence):
        raise Unreachable("Get https://10.0.0.1:10250/containerLogs: dial tcp: i/o timeout")

    monkeypatch.setattr(cluster.api, "lines", away)
    assert list(cluster.logs(handle, follow=True)) == []
