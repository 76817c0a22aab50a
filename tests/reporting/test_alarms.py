"""Each alarm on records that show its collapse, and on those of runs that did not collapse.

updates_default.jsonl    the default recipe, six updates: healthy
updates_hoards.jsonl     planted streams, 20 updates of docs/log.md: the memory ends longer than the text
updates_real_text.jsonl  SQuAD and MQuAKE, 8 updates of docs/log.md: only the format is learned
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from finemem_pipeline.reporting import alarms
from finemem_pipeline.reporting.alarms import ALARMS, Episodes, Watch

FINE_MEM = ("outcome", "chunk", "format", "compression")
HEALTHY = {
    "outcome": 0.4,
    "chunk_accuracy": 0.5,
    "groups/columns": 6.0,
    "groups/dead_columns": 1.0,
    "operations/insert": 1.5,
    "operations/update": 0.3,
    "operations/delete": 0.0,
    "operations/skip": 0.4,
    "operations/malformed_share": 0.03,
    "memory/share_of_text": 0.3,
    "memory/copied_share": 0.3,
    "share/outcome": 0.3,
    "share/chunk": 0.5,
    "share/format": 0.21,
    "share/compression": -0.01,
    "entropy": 0.15,
}


def recorded(name: str) -> list[dict]:
    lines = Path(__file__).with_name(f"updates_{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def begun(rows, terms=FINE_MEM) -> list[tuple[int, str]]:
    """(update, name) of every episode that begins."""
    watch = Watch(terms)
    return [(step, name) for step, row in enumerate(rows, 1) for name in watch.see(row)]


def test_a_healthy_run_raises_no_alarm():
    assert begun(recorded("default")) == []
    assert begun([HEALTHY] * 20) == []


def test_the_run_that_hoards_is_told_once_that_it_copies_and_nothing_else():
    assert begun(recorded("hoards")) == [(12, "copies_everything")]


def test_a_run_whose_format_alone_steers_is_told_so():
    rows = recorded("real_text")
    assert begun(rows) == [(3, "one_term_steers")]
    assert (
        ALARMS["one_term_steers"]
        .message(rows[2])
        .startswith("'format' has 95% of the reward's variance among siblings. The others have no say")
    )


SKIPPING = {"operations/insert": 0.1, "operations/update": 0.0, "operations/skip": 0.95, "outcome": 0.0}

COLLAPSES = [
    ("always_skips", SKIPPING, "90% of the operations are SKIP"),
    ("always_skips", {**SKIPPING, "outcome": None}, "90% of the operations are SKIP"),
    ("copies_everything", {"memory/share_of_text": 1.1}, "110% of what is read is copied into the memory"),
    # Every sentence written, most of them over another one.
    ("copies_everything", {"memory/copied_share": 0.95}, "95% of what is read is copied into the memory"),
    ("malformed_output", {"operations/malformed_share": 0.5}, "50% of what is written is no operation"),
    ("entropy_gone", {"entropy": 0.004}, "the entropy of the next token has fallen to 0.004 nats"),
    ("one_term_steers", {"share/chunk": 0.94, "share/outcome": 0.05}, "'chunk' has 94% of the reward's variance"),
    ("one_term_steers", {"share/compression": 0.9}, "'compression' has 90% of the reward's variance"),
    ("all_dead", {"groups/dead_columns": 6.0}, "in 6 of 6 groups all siblings earned the same"),
]


@pytest.mark.parametrize(("name", "shown", "finding"), COLLAPSES)
def test_a_collapse_is_told_at_the_third_update_that_shows_it(name, shown, finding):
    collapsed = {**HEALTHY, **shown}
    assert begun([HEALTHY, *[collapsed] * 2, HEALTHY]) == []
    assert begun([HEALTHY, *[collapsed] * 30]) == [(4, name)]
    assert ALARMS[name].message(collapsed).startswith(finding)
    assert ALARMS[name].message(collapsed).endswith(ALARMS[name].advice)


NEARLY = [
    {"operations/insert": 0.11, "operations/update": 0.0, "operations/skip": 0.89, "outcome": 0.0},
    {**SKIPPING, "outcome": 0.6},  # the streams are mostly chatter, and it is right to skip
    {"memory/share_of_text": 0.74, "memory/copied_share": 0.74},
    {"operations/malformed_share": 0.49},
    {"entropy": 0.02},
    {"share/chunk": 0.89},
    {"share/outcome": 0.99, "share/chunk": 0.01},  # what is wanted is what steers
    {"groups/dead_columns": 5.0},
]


@pytest.mark.parametrize("shown", NEARLY)
def test_what_comes_near_is_not_told(shown):
    assert begun([{**HEALTHY, **shown}] * 20) == []


def test_a_variant_of_a_single_term_is_steered_by_it_and_nobody_is_told():
    assert begun([{**HEALTHY, "share/chunk": 1.0}] * 5, terms=("chunk",)) == []


def test_an_update_in_which_nobody_is_scored_is_told_at_once_and_not_as_dead_groups():
    unscored = {**HEALTHY, "outcome": None, "chunk_accuracy": None, "groups/dead_columns": 6.0}
    assert begun([HEALTHY, unscored, unscored, HEALTHY, unscored]) == [(2, "nobody_scored"), (5, "nobody_scored")]
    assert begun([HEALTHY, *[{**unscored, "chunk_accuracy": 0.5}] * 4]) == [(4, "all_dead")]


def test_a_collapse_that_comes_back_is_told_again_but_not_one_that_flickers():
    gone = {**HEALTHY, "entropy": 0.001}
    assert begun([gone, gone, gone, HEALTHY, gone, HEALTHY, HEALTHY, gone, gone]) == [(3, "entropy_gone")]
    assert begun([*[gone] * 3, *[HEALTHY] * 3, *[gone] * 3]) == [(3, "entropy_gone"), (9, "entropy_gone")]


def test_an_update_that_cannot_tell_changes_nothing():
    gone = {**HEALTHY, "entropy": 0.001}
    silent = {name: value for name, value in gone.items() if name != "entropy"}  # no row had an advantage
    assert begun([gone, silent, gone, silent, silent, gone]) == [(6, "entropy_gone")]
    assert begun([{}] * 5) == [(1, "nobody_scored")]


def test_the_columns_of_the_metrics_tell_when_each_episode_began():
    gone = {**HEALTHY, "entropy": 0.001}
    watch, heard = Watch(FINE_MEM), Episodes()
    told = []
    for step, row in enumerate([*[gone] * 4, *[HEALTHY] * 4, *[gone] * 4], 1):
        watch.see(row)
        assert set(watch.columns) == {f"alarm/{name}" for name in ALARMS}
        told.append([heard.hear(step, watch.columns), watch.columns["alarm/entropy_gone"]])
    assert [step for step, (names, _) in enumerate(told, 1) if names == ["entropy_gone"]] == [3, 11]
    assert [ringing for _, ringing in told] == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1]
    assert heard.begun == {"entropy_gone": [3, 11]}


def test_the_page_names_every_alarm_with_its_threshold(project):
    page = (project / "docs/how-to/watch-training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.M)
    assert [name for name, _ in rows] == list(ALARMS)
    told = dict(rows)
    thresholds = {
        "always_skips": ["SKIPS", "ANSWERED"],
        "copies_everything": ["COPIED"],
        "malformed_output": ["MALFORMED"],
        "entropy_gone": ["ENTROPY"],
        "one_term_steers": ["STEERS"],
        "all_dead": ["DEAD"],
        "nobody_scored": [],
    }
    for name, constants in thresholds.items():
        for constant in constants:
            assert f"{getattr(alarms, constant):g}" in told[name], (name, constant)
