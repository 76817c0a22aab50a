"""Whole runs in a project of their own, one after the other in one process: importing torch and trl is what costs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.benchmarks.realbench import write_episodes
from finemem_pipeline.config import DEFAULT_MANAGERS, MANAGERS

Files = dict[str, int]
"""Path under data/ -> time of its last change, in nanoseconds."""

RUN = """
import json, shutil, sys
from pathlib import Path
from click.testing import CliRunner
from kedro.framework.cli.utils import find_run_command
from kedro.framework.startup import bootstrap_project

bootstrap_project(Path.cwd())
for name, options in json.loads(sys.argv[1]).items():
    if options == ["lose the disk"]:
        shutil.rmtree("data")
        continue
    done = CliRunner().invoke(find_run_command("finemem_pipeline"), ["--env=test", *options])
    files = {str(path): path.stat().st_mtime_ns for path in Path("data").rglob("*") if path.is_file()}
    outcome = {"code": done.exit_code, "output": done.output, "error": repr(done.exception), "files": files}
    Path(f"{name}.json").write_text(json.dumps(outcome))
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    output: str
    error: str
    files: Files


@dataclass(frozen=True)
class Project:
    """A project, and the outcomes of the commands that were run in it."""

    folder: Path
    outcomes: dict[str, Outcome]

    def json(self, path: str):
        return json.loads((self.folder / path).read_text("utf-8"))

    def lines(self, path: str | Path) -> list[dict]:
        return [json.loads(line) for line in (self.folder / path).read_text("utf-8").splitlines()]


def make_project(folder: Path, source: Path, model: Path) -> None:
    """The parts of the checkout that a run needs, the small model in its place, and streams in the realbench schema."""
    shutil.copytree(source / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    shutil.copy(source / "pyproject.toml", folder)
    (folder / "src").mkdir()
    shutil.copytree(model, folder / "data" / "06_models" / "base" / "tiny")
    streams = list(generate(PlantedSpec(train=12, chunks=2, seed=7), "train"))
    streams = [replace(stream, source=("squad", "mquake")[n % 2]) for n, stream in enumerate(streams)]
    write_episodes(folder / "streams" / "train.jsonl", streams[:4])
    write_episodes(folder / "streams" / "dev.jsonl.gz", streams[4:6])
    write_episodes(folder / "streams" / "test.jsonl", streams[6:8])
    write_episodes(folder / "more.jsonl", streams[8:11])
    write_episodes(folder / "all.jsonl.gz", streams)


def run_all(
    folder: Path, commands: dict[str, Sequence[str]], more: Mapping[str, str] | None = None
) -> dict[str, Outcome]:
    """Every command's outcome, by name; `more` is added to the environment."""
    told = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **(more or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-4000:]
    wrote = {name: folder / f"{name}.json" for name in commands}
    return {name: Outcome(**json.loads(path.read_text())) for name, path in wrote.items() if path.exists()}


@pytest.fixture
def fresh_project(project: Path, tiny_model: Path, tmp_path: Path) -> Project:
    """A project in which nothing has been run."""
    make_project(tmp_path, project, tiny_model)
    return Project(tmp_path, {})


@pytest.fixture
def fresh_projects(project: Path, tiny_model: Path, tmp_path: Path) -> list[Path]:
    """The folders of three projects in which nothing has been run."""
    for name in ("a", "b", "c"):
        make_project(tmp_path / name, project, tiny_model)
    return [tmp_path / name for name in ("a", "b", "c")]


COMPARED = "--params=evaluation.managers=" + "+".join(name for name in MANAGERS if name not in DEFAULT_MANAGERS)
REALBENCH = "data.source=realbench,data.path=streams"


@pytest.fixture(scope="session")
def ran(project: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The default pipeline twice, `evaluate` alone, and the other ways to name streams."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder, project, tiny_model)
    commands = {
        "first": [],
        "again": [],
        "evaluated": ["--pipelines=evaluate", "--params=evaluation.managers=trained+raw_chunks"],
        "compared": ["--pipelines=evaluate", COMPARED],
        "compared_again": ["--pipelines=evaluate", COMPARED],
        "other_seed": ["--pipelines=train", "--params=training.seed=1"],
        "seeds": [
            "--pipelines=evaluate",
            "--params=evaluation.managers=trained+warm_started+no_memory,evaluation.training_seeds=0+1,"
            "evaluation.temperature=1.0,evaluation.seeds=3+4+5",
        ],
        "realbench": [
            f"--params={REALBENCH},training.recipe=tiny_all_weights,training.steps=1,"
            "training.warm_start.imitation_steps=0,evaluation.limit=2"
        ],
        "own_file": [
            "--pipelines=evaluate",
            f"--params={REALBENCH},evaluation.path=more.jsonl,evaluation.managers=raw_chunks+no_memory",
        ],
        "one_file": ["--pipelines=data", "--params=data.source=realbench,data.path=all.jsonl.gz"],
    }
    return Project(folder, run_all(folder, commands))


SETS = (
    "benchmarks.mine.source=realbench,benchmarks.mine.path=streams,"
    "benchmarks.more.source=realbench,benchmarks.more.path=more.jsonl,benchmarks.more.sources=squad"
)


@pytest.fixture(scope="session")
def untrained(project: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """`evaluate` where nothing else was ever run: estimated, on two benchmarks, with one manager more, and refused."""
    folder = tmp_path_factory.mktemp("untrained")
    make_project(folder, project, tiny_model)
    run, both = ["--pipelines=evaluate"], f"{SETS},evaluation.benchmarks=mine+more"
    plain = "evaluation.managers=raw_chunks+sentences+no_memory"
    commands = {
        "dry": [*run, f"--params={both},evaluation.dry_run=true"],
        "first": [*run, f"--params={both},{plain}"],
        "more": [*run, f"--params={both},{plain}+untrained"],
        "dry_all": ["--params=evaluation.dry_run=true"],
        "unknown": [*run, f"--params={SETS},evaluation.benchmarks=mine+mroe"],
        "trained": [*run, f"--params={both},evaluation.managers=trained+no_memory"],
        "test": [*run, f"--params={plain}"],
    }
    return Project(folder, run_all(folder, commands))


SMALL = (
    "credit_bench.steps=3,credit_bench.seeds=2,credit_bench.families=clean+corrections,credit_bench.orders=2,"
    "credit_bench.habits=faithful+deleter,credit_bench.learning.steps=3,credit_bench.learning.updates=5,"
    "credit_bench.learning.variants=outcome_only+fine_mem+lean,credit_bench.learning.compare=fine_mem/outcome_only,"
    "credit_bench.learning.gradients=3,credit_bench.learning.workers=2"
)


@pytest.fixture(scope="session")
def bench(project: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """`credit_bench` twice, on given streams, and with parameters that cannot be used."""
    folder = tmp_path_factory.mktemp("bench")
    make_project(folder, project, tiny_model)
    run = ["--pipelines=credit_bench"]
    commands = {
        "first": [*run, f"--params={SMALL}"],
        "again": [*run, f"--params={SMALL}"],
        "given": [*run, f"--params={SMALL},data.source=realbench,data.path=streams,credit_bench.streams=1"],
        "unknown": [*run, "--params=credit_bench.learning.variants=fine_men"],
        "too_many": [*run, "--params=reader.k=4"],
    }
    return Project(folder, run_all(folder, commands))


@pytest.fixture(scope="session")
def matrix(project: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """`matrix`, and again with one reader more."""
    folder = tmp_path_factory.mktemp("matrix")
    make_project(folder, project, tiny_model)
    run = ["--pipelines=matrix"]
    commands = {
        "streams": ["--pipelines=data,qa_generation"],
        "first": run,
        "one_more": [
            *run,
            "--params=matrix.readers.wide.k=3,matrix.readers.wide.retriever.kind=bm25,matrix.readers.wide.retriever.b=0.0",
        ],
    }
    return Project(folder, run_all(folder, commands))


COMPARE = ["--pipelines=compare"]


@pytest.fixture(scope="session")
def side_by_side(project: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """`compare` from nothing, again, with more seeds and updates, a child alone, and with parameters that are wrong."""
    folder = tmp_path_factory.mktemp("side_by_side")
    make_project(folder, project, tiny_model)
    commands = {
        "first": [*COMPARE, "--params=compare.steps=1"],
        "again": [*COMPARE, "--params=compare.steps=1"],
        "more": [*COMPARE, "--params=compare.steps=2,compare.seeds=0+1"],
        "alone": [*COMPARE, "--namespaces=csr_only_seed_0", "--params=compare.steps=1,compare.variants=csr_only"],
        "fewer": [*COMPARE, "--params=compare.steps=1,compare.seeds=1"],
        "unknown": [*COMPARE, "--params=compare.variants=fine_men+outcome_only"],
        "impossible": [*COMPARE, "--params=training.group_size=1,training.reward=fine_mem_moving_average"],
    }
    return Project(folder, run_all(folder, commands))


EVALUATED = "evaluation.managers=trained+warm_started+imitation+untrained+raw_chunks"


@dataclass(frozen=True)
class Machines:
    """Projects that share a place for their data and nothing else. `alone` has done the same by itself."""

    place: str
    first: Project
    second: Project
    alone: Project


def share(folder: Path, place: str) -> None:
    """Lets a project keep its data there; its own data folder goes."""
    (folder / "conf" / "test" / "globals.yml").write_text(f"data: {place}\n")
    shutil.rmtree(folder / "data")


def put(folder: Path, paths: Sequence[str], more: Mapping[str, str]) -> None:
    """Puts what stands there to where the project keeps its data."""
    told = subprocess.run(
        [sys.executable, "-m", "finemem_pipeline.store", "put", *paths, "--env=test"],
        cwd=folder,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr


@pytest.fixture(scope="session", params=["s3", pytest.param("volume", marks=pytest.mark.slow)])
def machines(
    request: pytest.FixtureRequest, project: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Machines:
    """One machine makes the data and trains two updates, the second trains on and evaluates, once more with a new disk.

    The model of the recipe, and streams of somebody's own, have been put where data is kept.
    """
    top = tmp_path_factory.mktemp("machines")
    place, more = str(top / "volume"), {}
    if request.param == "s3":
        place, more = f"s3://finemem/{top.name}", request.getfixturevalue("s3_environment")
    for name in ("first", "second", "alone"):
        make_project(top / name, project, tiny_model)
    for name in ("first", "second"):
        share(top / name, place)
    shutil.copytree(tiny_model, top / "first" / "data" / "06_models" / "base" / "tiny")
    shutil.copytree(top / "first" / "streams", top / "first" / "data" / "01_raw" / "streams")
    put(top / "first", ["data/06_models/base/tiny", "data/01_raw/streams"], more)
    shutil.rmtree(top / "first" / "data")
    evaluate = ["--pipelines=evaluate", f"--params={EVALUATED}"]
    commands = {
        "first": {"trained": ["--pipelines=data,qa_generation,train", "--params=training.steps=2"]},
        "second": {
            "trained": ["--pipelines=train", "--params=training.steps=4"],
            "evaluated": evaluate,
            "": ["lose the disk"],
            "again": evaluate,
            "given": ["--pipelines=data", "--params=data.source=realbench,data.path=data/01_raw/streams"],
        },
        "alone": {"trained": [f"--params=training.steps=4,{EVALUATED}"]},
    }
    done = {name: Project(top / name, run_all(top / name, each, more)) for name, each in commands.items()}
    return Machines(place, **done)
