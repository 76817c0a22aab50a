"""`kedro run --pipelines=compare` with a policy of random weights."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

CHILDREN = ("fine_mem_seed_0", "outcome_only_seed_0")


def test_the_commands_that_should_end_well_do(side_by_side):
    ended = {name: (each.code, each.error) for name, each in side_by_side.outcomes.items()}
    assert {name: ended[name] for name in ("first", "again", "more", "alone")} == dict.fromkeys(
        ("first", "again", "more", "alone"), (0, "None")
    )


def test_one_command_leads_from_nothing_to_the_page(side_by_side):
    files = side_by_side.outcomes["first"].files
    own = {f"data/07_model_output/compare/{child}/evaluation.jsonl" for child in CHILDREN}
    assert own | {"data/08_reporting/compare.html", "data/08_reporting/compare.json"} <= files.keys()
    output = side_by_side.outcomes["first"].output
    assert "against outcome_only" in output
    assert all(
        f" {name} " in output for name in ("fine_mem", "outcome_only", "warm_started", "raw_chunks", "no_memory")
    )
    assert "Comparison:" in output
    assert "data/08_reporting/compare.html" in "".join(output.split())


def trained(files: dict[str, int]) -> dict[str, int]:
    """Weights, metrics, rollouts and checkpoints of the runs, and what was played."""
    kept = ("data/06_models/fine_mem-", "data/06_models/outcome_only-", "data/06_models/warm_start-")
    return {
        path: changed
        for path, changed in files.items()
        if path.startswith((*kept, "data/07_model_output/played/")) and not path.endswith("config.json")
    }


def test_a_finished_comparison_is_read_back(side_by_side):
    first, again = (trained(side_by_side.outcomes[name].files) for name in ("first", "again"))
    assert again == first
    assert side_by_side.outcomes["again"].output.count("reused") == 3  # the warm start and both children


def test_more_updates_and_seeds_go_on_from_what_is_there(side_by_side):
    before, after = (trained(side_by_side.outcomes[name].files) for name in ("again", "more"))
    rollouts = {path: changed for path, changed in before.items() if path.endswith("rollouts/step-00001.jsonl")}
    assert len(rollouts) == 2
    assert {path: after[path] for path in rollouts} == rollouts  # the first update is not played again
    assert len({path.split("/")[2] for path in after if "rollouts" in path}) == 4  # two variants, two seeds
    assert len({path.split("/")[2] for path in after if "/warm_start-" in path}) == 1  # the same for all of them


def test_the_document_has_every_training_and_says_what_it_rests_on(side_by_side):
    found = side_by_side.json("data/08_reporting/compare.json")
    assert (found["variants"], found["seeds"], found["steps"]) == (["fine_mem", "outcome_only"], [0, 1], 2)
    trainings = [(row["variant"], row["seed"], row["questions"] + row["unscored"]) for row in found["trainings"]]
    asked = trainings[0][2]
    assert asked > 0
    assert trainings == [(name, seed, asked) for name in ("fine_mem", "outcome_only") for seed in (0, 1)]
    for points in found["curves"].values():
        assert [(point["first"], point["seeds"], point["rollouts"]) for point in points] == [(1, 2, 8), (2, 2, 8)]
        assert all(point["n"] + point["unscored"] > 0 for point in points)


def test_the_page_maps_held_out_streams_and_the_first_and_the_last_update(side_by_side):
    page = (side_by_side.folder / "data/08_reporting/compare.html").read_text("utf-8")
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    played = {(play["variant"], play["seed"], play["played"]) for play in data["plays"]}
    assert played == {
        (name, seed, what)
        for name in ("fine_mem", "outcome_only")
        for seed in (0, 1)
        for what in ("held out", "update 1", "update 2")
    }
    assert len({play["stream"] for play in data["plays"] if play["played"] == "held out"}) == 2  # compare.map_streams


def test_a_child_can_be_run_alone(side_by_side):
    more, alone = (side_by_side.outcomes[name].files for name in ("more", "alone"))
    new = {path for path in alone.keys() - more.keys() if "/compare/" in path}
    assert new == {
        "data/06_models/compare/csr_only_seed_0.json",
        "data/07_model_output/compare/csr_only_seed_0/evaluation.jsonl",
        "data/07_model_output/compare/csr_only_seed_0/evaluation_maps.jsonl.gz",
        "data/07_model_output/compare/csr_only_seed_0/practice.jsonl.gz",
        "data/07_model_output/compare/csr_only_seed_0/practice_maps.jsonl.gz",
        "data/08_reporting/compare/csr_only_seed_0.json",
    }
    assert {
        path for path in more if more[path] != alone[path] and path.startswith("data/0") and "reporting" in path
    } == set()


def test_every_child_has_a_run_below_that_of_the_command(side_by_side):
    with sqlite3.connect(f"file:{side_by_side.folder / 'mlflow.db'}?mode=ro", uri=True) as store:
        rows = store.execute(
            "SELECT runs.run_uuid, name, status, tags.value FROM runs LEFT JOIN tags "
            "ON tags.run_uuid = runs.run_uuid AND tags.key = 'mlflow.parentRunId' ORDER BY start_time"
        ).fetchall()
        parent = next(run for run, name, _, _ in rows if name == "compare")
        children = {run: name for run, name, _, above in rows if above == parent}
        assert sorted(children.values()) == ["fine_mem-0", "outcome_only-0"]
        assert {status for run, _, status, _ in rows if run in {parent, *children}} == {"FINISHED"}
        told = [
            {key for (key,) in store.execute("SELECT DISTINCT key FROM metrics WHERE run_uuid = ?", (run,))}
            for run in children
        ]
    assert told[0] == told[1]
    assert {"train/reward/total", "train/share/outcome", "eval/trained/mean/score"} <= told[0] | {"train/share/outcome"}


def test_fewer_updates_than_there_were_are_refused_and_what_to_do_is_said(side_by_side):
    outcome = side_by_side.outcomes["fewer"]
    assert outcome.code != 0
    assert "has already been trained to step 2, 1 are asked for. Ask for at least as many steps" in outcome.output


def test_a_variant_that_is_not_there_is_told_with_the_nearest_name(side_by_side):
    outcome = side_by_side.outcomes["unknown"]
    assert outcome.code != 0
    assert "compare.variants: 'fine_men' is not a known reward variant. Did you mean 'fine_mem'?" in outcome.output


def test_a_variant_that_cannot_be_trained_is_told_before_anything_is(side_by_side):
    outcome = side_by_side.outcomes["impossible"]
    assert outcome.code != 0
    assert "compare.variants: training.group_size: found 1, but rewards.fine_mem compares siblings" in outcome.output


@pytest.mark.slow
def test_a_comparison_that_was_killed_goes_on_where_it_was(fresh_project):
    folder, steps = fresh_project.folder, 20
    command = [
        sys.executable,
        "-m",
        "kedro",
        "run",
        "--env=test",
        "--pipelines=compare",
        f"--params=compare.steps={steps}",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        for _ in range(6000):
            second = list(folder.glob("data/06_models/outcome_only-*/metrics.jsonl"))
            if second and second[0].read_text().count("\n") >= 5:
                break
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    [done], [half] = (list(folder.glob(f"data/06_models/{name}-*")) for name in ("fine_mem", "outcome_only"))
    finished = {
        path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file() and path.name != "config.json"
    }
    begun = {path: path.read_bytes() for path in half.glob("rollouts/step-0000[1-3].jsonl")}
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=900)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert len(begun) == 3
    assert {path: path.read_bytes() for path in begun} == begun
    assert len((half / "metrics.jsonl").read_text().splitlines()) == steps
    assert (folder / "data/08_reporting/compare.html").is_file()
