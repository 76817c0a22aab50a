import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.reporting.plots import accuracy_against_tokens, pareto_front, smooth, spread, training_plots


def test_only_what_was_measured_is_drawn(curves):
    assert [plot.name for plot in training_plots(curves)] == ["rewards", "shares", "operations", "dead"]
    assert training_plots([]) == []


def test_a_single_step_can_be_drawn():
    [plot] = training_plots([{"step": 1, "reward/total": 1.0}])
    assert plot.name == "rewards"


def test_of_two_rows_for_a_step_the_later_counts():
    twice = [{"step": 1, "outcome": 9.0}, {"step": 1, "outcome": 0.5}, {"step": 2, "outcome": 0.75}]
    once = [{"step": 2, "outcome": 0.75}, {"step": 1, "outcome": 0.5}]
    assert training_plots(twice) == training_plots(once)


def test_pictures_take_the_pages_colours_and_share_no_ids(curves, evaluation):
    plots = [*training_plots(curves), accuracy_against_tokens(evaluation)]
    seen: set[str] = set()
    for plot in plots:
        ids = re.findall(r'\bid="([^"]+)"', plot.svg)
        assert ElementTree.fromstring(plot.svg).tag.endswith("svg")
        assert "var(--ink)" in plot.svg
        assert "#0072b2" not in plot.svg
        assert not seen & set(ids)
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', plot.svg)) <= set(ids)
        seen |= set(ids)


def test_without_a_score_there_is_no_point_and_without_points_no_picture(evaluation):
    for row in evaluation["rows"]:
        row["mean"]["score"] = None
    assert accuracy_against_tokens(evaluation) is None


def test_the_front_holds_what_nothing_beats():
    assert pareto_front([(10, 0.5), (0, 0.1), (20, 0.4), (10, 0.6), (30, 0.6)]) == [(0, 0.1), (10, 0.6)]


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.01, 0.3))
def test_labels_keep_their_order_and_their_distance(heights, gap):
    places = spread(heights, gap)
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    found = [places[place] for place in order]
    assert all(upper - lower >= gap - 1e-9 for lower, upper in pairwise(found))
    assert sum(places) == pytest.approx(sum(heights))


def test_labels_with_room_stay_where_they_are():
    assert spread([0.9, 0.1, 0.5], 0.2) == [0.9, 0.1, 0.5]
    assert spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])


def test_smoothing_leaves_a_constant_and_short_runs_alone():
    assert smooth(np.full(100, 3.0)).tolist() == pytest.approx([3.0] * 100)
    assert smooth(np.array([1.0, 5.0])).tolist() == [1.0, 5.0]


def test_smoothing_is_the_mean_of_the_neighbours():
    assert smooth(np.arange(20.0) ** 2)[:3].tolist() == pytest.approx([0.5, 5 / 3, 14 / 3])
