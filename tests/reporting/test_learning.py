from __future__ import annotations

from finemem_pipeline.reporting.learning import learning_grids, learning_plots


def mean(value: float | None, apart: float = 0.1) -> dict:
    ends = {"low": None, "high": None} if value is None else {"low": value - apart, "high": value + apart}
    return {"mean": value, **ends, "spread": None if value is None else 0.05, "n": 3, "missing": 0}


def until(median: float | None, low: float | None, high: float | None) -> dict:
    return {"median": median, "low": low, "high": high, "first_quartile": low, "third_quartile": high}


def run(variant: str, reached: dict, collapsed: dict) -> dict:
    times = ("updates_to_goal", "calls_to_goal", "questions_to_goal", "updates_to_facts", "calls_to_facts")
    marks = ("mean_score", "peak_score", "final_score", "final_corrected", "final_kept")
    return {
        **{"variant": variant, "steps": 10, "runs": 3, "censored": 1, "collapsed": collapsed},
        **dict.fromkeys(times, reached),
        **dict.fromkeys(marks, mean(0.6)),
        **{"attainable": mean(0.851, 0.0), "final_tokens": mean(120.0, 10.0), "tokens_at_goal": mean(None)},
        "ends": [[0.5, False], [0.6, False], [0.7, bool(collapsed)]],
        "curve": [],
    }


def gradient(state: str) -> dict:
    value = {"value": 0.5, "low": 0.25, "high": 0.75}
    sizes = {"groups": 100, "truth_groups": 400}
    found = {"snr": value, "variance": value, "cosine": {"value": None, "low": None, "high": None}}
    shares = {"outcome": -0.001, "delta_chunk": 0.4, "retention": 0.35}
    return {"state": state, "steps": 10, "variant": "lean", **sizes, **found, "shares": shares}


LEARNING = {
    "seeds": 3,
    "updates": 150,
    "runs": [run("lean", until(35.0, 30.0, None), {}), run("fine_mem", until(None, None, None), {"copies": 1})],
    "differences": [
        {"variant": "lean", "reference": "fine_mem", "steps": 10, "final_tokens": mean(-40.0, 10.0)}
        | dict.fromkeys(("mean_score", "final_score", "final_corrected"), mean(0.05))
    ],
    "gradients": [gradient("untrained"), gradient("half trained by lean")],
}


def test_what_was_not_reached_lies_beyond_the_last_update():
    fast, *_ = learning_grids(LEARNING)
    assert fast.rows[0][:5] == ("lean", "2 of 3", "35 [30, > 150]", "35 [30, –]", "–")
    assert fast.rows[1][:4] == ("fine_mem", "2 of 3", "> 150", "–")
    assert "90 % of 0.851" in fast.note


def test_collapsed_runs_are_counted_by_kind():
    _, ends, *_ = learning_grids(LEARNING)
    assert ends.head[-1] == "collapsed"
    assert [row[-1] for row in ends.rows] == ["0 of 3", "1 of 3 (copies 1)"]
    assert ends.rows[0][1:3] == ("0.600 [0.500, 0.700]", "0.050")


def test_differences_carry_their_sign_and_a_star_where_0_is_excluded():
    _, _, pairs, *_ = learning_grids(LEARNING)
    assert pairs.rows == (("lean − fine_mem", "10", *["+0.050 [−0.050, +0.150]"] * 3, "−40 [−50, −30]*"),)


def test_every_state_of_the_policy_has_a_table_of_its_gradients():
    *_, untrained, half = learning_grids(LEARNING)
    assert (untrained.title, half.title) == (
        "The gradient of a policy that is untrained, T = 10: 100 groups",
        "The gradient of a policy that is half trained by lean, T = 10: 100 groups",
    )
    assert half.rows == (("lean", "0.500 [0.250, 0.750]", "0.500 [0.250, 0.750]", "–", "0.00", "0.75"),)


def test_a_picture_shows_every_seed_and_one_the_memory():
    seeds, held = learning_plots(LEARNING)
    assert (seeds.name, held.name) == ("seeds-10", "held-10")
    assert all(plot.svg.startswith("<svg") for plot in (seeds, held))
