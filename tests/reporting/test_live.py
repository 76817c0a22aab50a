from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from rich.console import Console

from finemem_pipeline import progress
from finemem_pipeline.reporting import live
from finemem_pipeline.reporting.alarms import Watch
from finemem_pipeline.reporting.live import Board, left


def updates(name: str) -> list[tuple[int, dict[str, float]]]:
    """(step, metrics) as they are reported."""
    watch, found = Watch(("outcome", "chunk", "format", "compression")), []
    lines = Path(__file__).with_name(f"updates_{name}.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines):
        step = row.pop("step")
        watch.see(row)
        found.append((step, {key: value for key, value in (row | watch.columns).items() if value is not None}))
    return found


def drawn(board: Board, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(board.picture())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table_shows_the_last_update_beside_the_mean_of_the_last_five():
    board = Board("training", 6)
    for step, metrics in updates("default"):
        board.hear(step, metrics)
    board.at(5, "playing chunk 2 of 3")
    lines = drawn(board, 130)
    assert lines[0].startswith("training ")
    assert lines[0].endswith("playing chunk 2 of 3")
    text = "\n".join(lines)
    for shown in (
        "outcome     0.11   18%    21%",
        "chunk       0.34   50%    39%",
        "score             0.33   0.28",
        "dead groups        0/6     0%",
        "entropy          0.163  0.168",
        "clipped           0.0%   0.0%",
        "gradient norm     0.12   0.13",
        "INSERT      1.81   1.54",
        "malformed     1%     3%",
        "cache hits          23%    20%",
    ):
        assert shown in text
    assert "since update" not in text


def test_a_collapse_stands_below_with_what_was_found_and_what_helps():
    board = Board("training", 20)
    for step, metrics in updates("hoards"):
        board.hear(step, metrics)
    text = " ".join(drawn(board, 130))
    assert "copies_everything, since update 12: 101% of what is read is copied into the memory. No reward" in text


def test_the_table_fits_a_small_terminal():
    board = Board("training with fine_mem", 20)
    for step, metrics in updates("hoards"):
        board.hear(step, metrics)
    assert len(drawn(board, 80)) <= 24


def test_one_of_several_trainings_is_shown_by_its_own_names():
    board = Board("training", 6)
    for step, metrics in updates("hoards")[:12]:
        board.hear(step, {f"smollm/fine_mem/{name}": value for name, value in metrics.items()})
    text = "\n".join(drawn(board, 130))
    assert "entropy          0.119  0.109" in text
    assert "copies_everything, since update 12" in text


def test_before_the_first_update_there_is_only_the_bar():
    board = Board("training", 6)
    board.at(0, "playing chunk 1 of 3")
    [line] = drawn(board, 120)
    assert line.endswith("0/6 – left playing chunk 1 of 3")


def test_what_is_left_takes_as_long_as_the_last_updates_took():
    board = Board("training", 10)
    for step, seconds in enumerate((900.0, 10.0, 20.0, 30.0, 40.0, 50.0), 1):
        board.hear(step, {"seconds/step": seconds})
    assert left(board.rows, done=6, total=10) == 4 * 30.0
    assert left([], done=0, total=10) is None


def test_on_a_terminal_it_shows_while_it_is_entered_what_is_reported():
    console = Console(width=130, file=io.StringIO(), force_terminal=True)
    with Board("training", 6, console=console):
        for step, metrics in updates("default"):
            progress.report(step, metrics)
    assert "0.163" in console.file.getvalue()
    assert progress._subscribers == []


def test_without_a_terminal_there_is_a_line_now_and_then_and_one_at_the_end(caplog, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, logger="finemem_pipeline.reporting.live"), Board("training", 6):
        for step, metrics in updates("default"):
            progress.report(step, metrics)
            now[0] += 12.0
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(",")[0] for line in lines] == [f"training: update {step} of 6" for step in (1, 4, 6)]
    assert lines[-1] == (
        "training: update 6 of 6, score 0.33, reward 1.29 (outcome 18%, chunk 50%, format 32%, compression 0%), "
        "dead groups 0/6, entropy 0.163, KL –, clipped 0.0%, gradient 0.12, memory 57 tokens, "
        "operations 1.8 INSERT/0.1 UPDATE/0.0 DELETE/0.0 SKIP, cache hits 23%, – tokens/s generated, – learned, "
        "0:00:51 an update, 0:00:00 left"
    )
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("shown", [True, False])
def test_only_the_process_that_shows_it_listens(shown, caplog):
    with caplog.at_level(logging.INFO), Board("training", 6, shown=shown):
        progress.report(6, {"outcome": 0.5})
    assert len(caplog.records) == shown
