"""What the person at the terminal sees when something is wrong: why, within seconds, and no traceback."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Ended:
    """How a command ended; the output is one line, as the width of a terminal cuts it anywhere."""

    code: int
    output: str
    seconds: float  # of computing: what it takes on a machine that does nothing else


class Terminal:
    """`kedro run` in a project without any data or model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def kedro_run(self, *options: str) -> Ended:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "kedro", "run", *options],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
        return Ended(done.returncode, " ".join(done.stdout.split()), spent)

    def written(self) -> list[str]:
        """Files of the project that were not there before."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob("data/**/*") if path.is_file())


@pytest.fixture
def terminal(project: Path, tmp_path: Path) -> Terminal:
    shutil.copytree(project / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    shutil.copy(project / "pyproject.toml", tmp_path)
    for folder in ("src", "conf/local"):
        (tmp_path / folder).mkdir()
    return Terminal(tmp_path)


def stopped(ended: Ended) -> str:
    """What was said by a command that stopped as it should."""
    assert ended.code != 0
    assert "Traceback" not in ended.output
    assert ended.seconds < 20
    return ended.output


def test_every_wrong_parameter_is_told_at_once_with_the_nearest_name(terminal):
    said = stopped(
        terminal.kedro_run("--params=training.stepz=3,data.source=planned,training.reward=fine_men,reader.k=none")
    )
    assert "'stepz' is not a known parameter. Did you mean 'steps'?" in said
    assert "'planned' is not a known loader. Did you mean 'planted'?" in said
    assert "'fine_men' is not a known reward variant. Did you mean 'fine_mem'?" in said
    assert "reader.k" in said
    assert terminal.written() == []


def test_a_missing_model_says_where_it_should_be_and_how_to_get_it(terminal):
    said = stopped(terminal.kedro_run())
    assert "recipes.smollm2_135m.model: there is no model at data/06_models/base/smollm2-135m-instruct" in said
    assert "`make setup` puts the small default model there" in said
    assert terminal.written() == []


def test_a_missing_data_file_says_what_is_there(terminal):
    (terminal.folder / "streams").mkdir()
    (terminal.folder / "streams" / "trian.jsonl").write_text("")
    said = stopped(terminal.kedro_run("--pipelines=data", "--params=data.source=realbench,data.path=streams"))
    assert "no train.jsonl or train.jsonl.gz for the split 'train'. Did you mean 'trian.jsonl'?" in said
    assert terminal.written() == []


GOOD = {
    "instance_id": "s1",
    "data_source": "made",
    "task_type": "AR",
    "chunks": [{"chunk_id": "c0", "text": "Ann has a key."}],
    "questions": [{"question_id": "q1", "question": "Who?", "answers": ["Ann"], "metric": "sub_em"}],
}


def test_all_bad_rows_of_all_files_are_told_and_nothing_is_written(terminal):
    folder = terminal.folder / "streams"
    folder.mkdir()
    bad_task, no_answer = {**GOOD, "task_type": "RA"}, {**GOOD, "questions": [{**GOOD["questions"][0], "answers": []}]}
    rows = {"train": [GOOD, bad_task], "dev": [GOOD], "test": [no_answer]}
    for split, records in rows.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    said = stopped(terminal.kedro_run("--pipelines=data", "--params=data.source=realbench,data.path=streams"))
    assert "train.jsonl:2: task_type: 'RA' is not a known task. Known: AR, CR, LRU, TTL." in said
    assert "test.jsonl:1: questions[0].answers: is empty" in said
    assert terminal.written() == []


def test_a_server_that_does_not_answer_stops_the_run_before_it_begins(terminal):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"  # taken, and nobody listens
        said = stopped(
            terminal.kedro_run(
                "--pipelines=qa_generation",
                f"--params=questions.writer.kind=endpoint,questions.writer.base_url={address},questions.writer.model=m",
            )
        )
    assert address in said


def test_an_unknown_pipeline_is_told_with_the_nearest_name(terminal):
    said = stopped(terminal.kedro_run("--pipelines=evalute"))
    assert "'evalute' is not a known pipeline. Did you mean 'evaluate'?" in said


def test_what_an_earlier_pipeline_should_have_written_is_named_with_that_pipeline(terminal):
    said = stopped(terminal.kedro_run("--pipelines=qa_generation"))
    assert "train_episodes: not there yet." in said
    assert "kedro run --pipelines=data" in said
