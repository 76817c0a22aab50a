from __future__ import annotations

from finemem_pipeline.study.summary import over_units, summarise


def row(scheme: str, seed: int, value: float | None, family: str = "clean") -> dict:
    both = {"left_out": value, "shapley": value}
    return {
        **{"family": family, "steps": 5, "habit": "faithful", "seed": seed, "stream": f"{family}-{seed}", "unit": seed},
        **{"scheme": scheme, "spearman": both, "precision": 0.5, "idle_share": both, "calls": 3, "milliseconds": 1.0},
    }


def test_a_mean_counts_rows_and_tells_how_many_have_no_value():
    rows = [row("cited", 0, 0.2), row("cited", 0, 0.4), row("cited", 1, 0.9), row("cited", 2, None)]
    cell = over_units(rows, lambda each: each["spearman"]["shapley"])
    assert cell["mean"] == 0.5
    assert (cell["n"], cell["missing"]) == (3, 1)
    assert 0.3 <= cell["low"] < 0.5 < cell["high"] <= 0.9


def test_nothing_known_is_none_and_not_zero():
    assert over_units([row("cited", 0, None)], lambda each: each["spearman"]["shapley"]) == {
        **{"mean": None, "low": None, "high": None},
        **{"n": 0, "missing": 1},
    }


def test_one_unit_has_a_mean_and_no_interval():
    cell = over_units([row("cited", 0, 0.2), row("cited", 0, 0.4)], lambda each: each["spearman"]["shapley"])
    assert abs(cell["mean"] - 0.3) < 1e-12
    assert (cell["low"], cell["high"]) == (None, None)


def test_units_that_agree_leave_no_width():
    cell = over_units([row("cited", seed, 0.7) for seed in range(5)], lambda each: each["spearman"]["shapley"])
    assert abs(cell["low"] - 0.7) < 1e-12
    assert abs(cell["high"] - 0.7) < 1e-12


def test_differences_are_taken_rollout_by_rollout():
    hard, easy = 0.1, 0.8  # the seeds differ much, the schemes always by 0.1
    rows = [row("retrieved", seed, value) for seed, value in enumerate((hard, easy))]
    rows += [row("cited", seed, value + 0.1) for seed, value in enumerate((hard, easy))]
    schemes = {each["scheme"]: each for each in summarise(rows)["schemes"]}
    assert schemes["retrieved"]["difference"] is None
    apart = schemes["cited"]["difference"]
    assert abs(apart["mean"] - 0.1) < 1e-12
    assert apart["high"] - apart["low"] < 1e-12


def test_a_rollout_without_a_truth_is_in_no_difference():
    rows = [row("retrieved", 0, None), row("retrieved", 1, 0.2), row("cited", 0, None), row("cited", 1, 0.6)]
    apart = summarise(rows)["schemes"][1]["difference"]
    assert (apart["n"], apart["missing"]) == (1, 1)


def test_the_leading_measure_is_told_by_family_length_and_habit():
    found = summarise([row("cited", 0, 0.2), row("cited", 0, 0.6, family="early")])
    assert found["by"]["family"]["early"]["cited"]["mean"] == 0.6
    assert found["by"]["steps"]["5"]["cited"]["mean"] == 0.4
    assert found["episodes"] == 2
    assert found["reference"] is None
