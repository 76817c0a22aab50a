from finemem_pipeline.reporting.statistics import costs, evaluation_grids, faces, gains, lengths


def gain(manager, scope, name, mean, low, high):
    return {
        **{"manager": manager, "reference": "no_memory", "scope": scope, "name": name, "level": 0.95},
        **{"mean": mean, "low": low, "high": high, "excludes_zero": low > 0 or high < 0},
    }


def test_the_gain_over_no_memory_has_a_column_for_every_scope(evaluation):
    evaluation["closed_book"] = [
        gain(manager, scope, name, mean, mean - 0.1, mean + 0.1)
        for manager, mean in (("trained", 0.5), ("warm_started", 0.05))
        for scope, name in (("mean", ""), ("source", "squad"))
    ]
    found = gains(evaluation)
    assert found.head == ("manager", "mean over sources", "squad")
    assert found.rows[0] == ("trained", "+0.500 [+0.400, +0.600]*", "+0.500 [+0.400, +0.600]*")
    assert found.rows[1][1] == "+0.050 [−0.050, +0.150]"


def test_without_a_manager_that_has_no_memory_there_is_no_gain(evaluation):
    assert gains(evaluation) is None


def test_costs_are_told_per_question_with_what_was_asked_twice(evaluation):
    found = costs(evaluation)
    assert found.rows[0] == ("trained", "1", "3", "900", "90", "1.5", "1", "60.5", "4")
    assert "51 questions were asked and 40 sent to the reader; 11 had been asked before" in found.note


def test_lengths_are_told_where_there_are_several_or_longer_ones_than_were_trained_on(evaluation):
    assert lengths(evaluation) is None
    evaluation["lengths"][0]["beyond"] = True
    assert lengths(evaluation).head == ("manager", "up to 4k † (8)")
    assert lengths(evaluation).rows[0][1].startswith("0.625 (8; ")


def test_both_faces_are_told_of_the_sources_where_they_differ(evaluation):
    assert faces(evaluation) is None
    evaluation["rows"][0]["sources"]["mquake"]["published"] = 0.25
    assert faces(evaluation).head == ("manager", "mquake")
    assert [row[1] for row in faces(evaluation).rows] == ["0.500 → 0.250", "– → –", "0.000 → 0.000"]


def test_only_what_has_something_to_say_is_shown(evaluation):
    assert [grid.title for grid in evaluation_grids(evaluation)] == ["Cost of a question"]
