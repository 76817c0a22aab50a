"""`python -m finemem_pipeline.store`, and the commands of the page on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finemem_pipeline.store.places import place

PAGE = "docs/how-to/keep-data-in-an-object-store.md"


@pytest.fixture
def checkout(project: Path, tmp_path: Path) -> Path:
    """What a run needs of the project."""
    for name in ("conf", "pyproject.toml"):
        copy = shutil.copytree if (project / name).is_dir() else shutil.copy
        copy(project / name, tmp_path / name)
    (tmp_path / "src").mkdir()
    return tmp_path


def run(command: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    program, *words = command.split()
    module = ["-m", "kedro"] if program == "kedro" else []
    return subprocess.run(
        [sys.executable, *module, *words],
        cwd=folder,
        env={**os.environ, "COLUMNS": "300", **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def shown(project: Path) -> list[str]:
    """The commands of the page, but for those that install and set variables."""
    blocks = re.findall(r"```sh\n(.*?)```", (project / PAGE).read_text(encoding="utf-8"), re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith(("python ", "kedro "))]


def test_the_commands_of_the_page_work_on_a_bucket(project: Path, checkout: Path, tiny_model: Path, s3: str) -> None:
    commands = shown(project)
    assert len(commands) == 4
    shutil.copytree(tiny_model, checkout / "data/06_models/base/smollm2-135m-instruct")
    for command in commands[:3]:
        done = run(command.replace(",qa_generation", ""), checkout, FINEMEM_DATA=s3)
        assert done.returncode == 0, (command, done.stderr[-2000:])
        if "put" in command:
            shutil.rmtree(checkout / "data")
    assert (checkout / "data/08_reporting/data_docs/index.html").is_file()
    kept = place(s3)
    assert "06_models/base/smollm2-135m-instruct/config.json" in kept.files("06_models")
    assert len(kept.files("03_primary")) == 3


def test_what_is_asked_of_it_is_told_if_it_cannot_be_done(checkout: Path) -> None:
    volume = str(checkout / "volume")
    store = "python -m finemem_pipeline.store"
    for command, said in (
        (f"{store} put data/no --env=k8s", "Error: data/no: no such file or folder"),
        (f"{store} get data/no --env=k8s", f"Error: {volume}/no: there is nothing"),
        (f"{store} get data/no", "Error: --env=local keeps data in data/ itself: there is no other place to copy to."),
    ):
        done = run(command, checkout, FINEMEM_DATA=volume)
        assert (done.returncode, done.stderr.strip()) == (1, said)


def test_a_run_whose_place_cannot_be_reached_ends_before_its_first_node(checkout: Path) -> None:
    done = run(
        "kedro run --env=k8s --runner=SequentialRunner --pipelines=data",
        checkout,
        FINEMEM_DATA="s3://finemem/data",
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
    )
    assert done.returncode == 1
    assert "http://127.0.0.1:9 cannot be reached. Is it up, and is AWS_ENDPOINT_URL right?" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Running node" not in done.stdout
