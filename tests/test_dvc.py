"""dvc.yaml: the stages follow the pipelines, and what they track can be tracked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.config import OmegaConfigLoader

from finemem_pipeline.pipeline_registry import register_pipelines
from finemem_pipeline.settings import CONFIG_LOADER_ARGS

PROJECT = Path(__file__).resolve().parents[1]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def paths(entries: list[Any]) -> set[str]:
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


def catalog() -> dict[str, str]:
    found = OmegaConfigLoader(conf_source=str(PROJECT / "conf"), env="base", **CONFIG_LOADER_ARGS)["catalog"]
    return {name: entry["filepath"] for name, entry in found.items()}


def dvc(*words: str, cwd: Path) -> str:
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
    )
    assert asked.returncode == 0, asked.stderr
    return asked.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """What DVC reads of the project, in a repository of its own."""
    place = tmp_path_factory.mktemp("checkout")
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(PROJECT / name, place / name)
    (place / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(PROJECT / ".dvc" / name, place / ".dvc" / name)
    for name in ("conf", "src"):
        shutil.copytree(PROJECT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    return place


def test_dvc_plans_the_four_stages_in_the_order_of_the_pipelines(checkout):
    for stage in STAGES.values():  # a dry run looks at what the stages before would have written
        for path in paths(stage["outs"]):
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).touch()
    told = dvc("repro", "--dry", cwd=checkout)
    assert re.findall(r"Running stage '(\w+)'", told) == ["data", "qa_generation", "train", "evaluate"]


def test_dvc_reads_every_parameter_that_a_stage_tracks(checkout):
    told = yaml.safe_load(dvc("params", "diff", "--all", "--json", cwd=checkout) or "{}")
    assert told == {}  # nothing to compare with; an unreadable file or a missing key would have been an error
    for stage in STAGES.values():
        for entry in stage["params"]:
            [(file, keys)] = entry.items()
            document = yaml.safe_load((PROJECT / file).read_text(encoding="utf-8"))
            for key in keys:
                place = document
                for part in key.split("."):
                    place = place[part]


def test_tracked_parameter_files_are_plain():
    # DVC reads them without Kedro's resolvers, so an interpolation would be recorded unresolved.
    for file in {next(iter(entry)) for stage in STAGES.values() for entry in stage["params"]}:
        assert "${" not in (PROJECT / file).read_text(encoding="utf-8"), file


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_the_pipeline_of_its_name_and_names_its_files(name):
    assert STAGES[name]["cmd"] == f".venv/bin/python -m kedro run --pipelines={name}"
    pipeline, files = register_pipelines()[name], catalog()
    read = {files[dataset] for dataset in pipeline.inputs() if dataset in files}
    written = {files[dataset] for dataset in pipeline.all_outputs() if dataset in files}
    assert {path for path in paths(STAGES[name]["deps"]) if path.startswith("data/")} == read
    outs = paths(STAGES[name]["outs"]) - {
        f"data/08_reporting/{page}" for page in ("report.html", "table.html", "table.csv")
    }
    assert outs <= written
    told_by_paths = {f"data/08_reporting/{paths}.json" for paths in ("data_checks", "report", "table")}
    assert written - outs <= told_by_paths


@pytest.mark.parametrize("name", STAGES)
def test_what_a_pipeline_is_given_as_parameters_is_tracked_by_its_stage(name):
    given = {each.removeprefix("params:") for each in register_pipelines()[name].inputs() if each.startswith("params:")}
    tracked = {key.split(".")[0] for entry in STAGES[name]["params"] for keys in entry.values() for key in keys}
    assert given == tracked


def test_code_that_a_stage_depends_on_is_there():
    for stage in STAGES.values():
        for path in paths(stage["deps"]):
            assert path.startswith("data/") or (PROJECT / path).exists(), path


def test_nothing_a_training_run_continues_from_is_an_out():
    outs = [path for stage in STAGES.values() for path in paths(stage["outs"])]
    assert sorted(path for path in outs if path.startswith("data/06_models")) == [
        "data/06_models/training.json",
        "data/06_models/warm_start.json",
    ]
    assert not [path for path in outs if path.endswith(".sqlite")]
    assert all(entry[next(iter(entry))]["persist"] for entry in STAGES["train"]["outs"])


def test_dvc_asks_nothing_of_the_network_by_itself(checkout):
    told = dvc("config", "--list", "--project", cwd=checkout)
    assert sorted(told.split()) == ["core.analytics=false", "core.autostage=false", "core.check_update=false"]


@pytest.mark.parametrize(("path", "ignored"), [("data/01_raw/a/b.jsonl.gz", True), ("data/01_raw/a/b.dvc", False)])
def test_git_ignores_data_but_not_what_pins_it(checkout, path, ignored):
    asked = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=checkout, check=False)
    assert (asked.returncode == 0) is ignored
