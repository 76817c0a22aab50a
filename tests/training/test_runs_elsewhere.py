"""Runs whose data is kept elsewhere: what one machine leaves, and another one goes on from."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path

import pytest

from finemem_pipeline import store
from finemem_pipeline.errors import FinememError
from finemem_pipeline.reasoning import Asked, Reply
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.store.places import Mount
from finemem_pipeline.training.paid import Answers, Paid
from finemem_pipeline.training.runs import Run, weights_at


@pytest.fixture
def works(tmp_path: Path):
    """works("a") gives the run as machine a has it; all machines keep their data in one place."""

    @contextmanager
    def on(machine: str, fresh: bool = False):
        folder = tmp_path / machine
        with store.kept_in(str(tmp_path / "volume"), folder):
            yield Run.open(folder / "data" / "06_models", "fine_mem", {"seed": 0}, fresh=fresh)

    return on


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "volume" / "06_models"


def update(run: Run, step: int, most: int = 2, spared: tuple[int, ...] = ()) -> None:
    """What training leaves of an update."""
    run.append_metrics({"step": step})
    run.rollouts_folder.mkdir(exist_ok=True)
    (run.rollouts_folder / f"step-{step:05d}.jsonl").write_text(f"{step}")
    with run.writing_checkpoint(step) as folder:
        (folder / "weights").write_text(f"{step}")
    run.prune_checkpoints(most, spared)
    run.put_checkpoint(step)


def names(paths) -> list[str]:
    return [path.name for path in paths]


def test_another_machine_goes_on_from_the_newest_checkpoint(works):
    with works("a") as run:
        for step in (1, 2, 3):
            update(run, step)
    with works("b") as run:
        assert run.newest_checkpoint() is None
        run.catch_up()
        assert names(run.checkpoints()) == ["checkpoint-2", "checkpoint-3"]
        assert [row["step"] for row in run.metrics()] == [1, 2, 3]
        assert [path.read_text() for path in sorted(run.rollouts_folder.iterdir())] == ["1", "2", "3"]


def test_checkpoints_that_are_dropped_here_are_dropped_there(works, volume):
    with works("a") as run:
        for step in (1, 2, 3, 4):
            update(run, step, spared=(1,))
        assert names(run.checkpoints()) == ["checkpoint-1", "checkpoint-3", "checkpoint-4"]
        assert sorted(names((volume / run.folder.name / "checkpoints").glob("checkpoint-*/weights"))) == ["weights"] * 3
        assert names(sorted(store.whole(run.folder))) == ["checkpoint-1", "checkpoint-3", "checkpoint-4"]


def test_a_run_that_is_further_here_stays_as_it_is(works):
    with works("a") as run:
        update(run, 1)
        with run.writing_checkpoint(2) as folder:
            (folder / "weights").write_text("not put before the kill")
        run.append_metrics({"step": 2})
        run.catch_up()
        assert names(run.checkpoints()) == ["checkpoint-1", "checkpoint-2"]
        assert [row["step"] for row in run.metrics()] == [1, 2]


def test_a_run_that_is_behind_here_is_replaced(works):
    with works("a") as run:
        update(run, 1)
        run.append_metrics({"step": 2, "lost": True})
        (run.folder / "paid.jsonl").write_text("of a lost update")
    with works("b") as run:
        run.catch_up()
        for step in (2, 3):
            update(run, step)
    with works("a") as run:
        run.catch_up()
        assert names(run.checkpoints())[-1] == "checkpoint-3"
        assert run.metrics() == [{"step": 1}, {"step": 2}, {"step": 3}]
        assert not (run.folder / "paid.jsonl").exists()


def test_a_checkpoint_that_came_in_part_is_not_seen(works, volume):
    with works("a") as run:
        for step in (1, 2):
            update(run, step)
        (volume / run.folder.name / "checkpoints" / "checkpoint-2" / ".whole.json").unlink()
    with works("b") as run:
        run.catch_up()
        assert names(run.checkpoints()) == ["checkpoint-1"]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(works, volume, caplog):
    with works("a") as run:
        for step in (1, 2):
            update(run, step)
        (volume / run.folder.name / "checkpoints" / "checkpoint-2" / "weights").write_text("x")
    with works("b") as run:
        run.catch_up()
        assert names(run.checkpoints()) == ["checkpoint-1"]
        assert names(store.whole(run.folder)) == ["checkpoint-1"]  # else it would be kept for the newest
    assert "checkpoint-2/weights: is not what was put there" in caplog.text


def test_a_store_that_fails_costs_a_warning_and_the_next_checkpoint_brings_both(works, caplog, monkeypatch):
    def full(self, files):
        raise store.StoreError("s3://finemem: refused")

    with works("a") as run:
        update(run, 1)
        with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
            broken.setattr(Mount, "put", full)
            update(run, 2, most=3)
        assert "checkpoint 2 was not stored, training goes on: s3://finemem: refused" in caplog.text
        assert names(store.whole(run.folder)) == ["checkpoint-1"]
        update(run, 3, most=3)
    with works("b") as run:
        run.catch_up()
        assert names(run.checkpoints()) == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
        assert len(list(run.rollouts_folder.iterdir())) == 3


def test_a_result_is_found_by_another_machine_with_its_metrics(works, volume):
    with works("a") as run:
        update(run, 1)
        run.keep("policy-00001", lambda folder: (folder / "adapter").write_text("1"))
    with works("b") as run:
        assert run.has("policy-00001")
        assert not run.has("policy-00002")
        assert (run.result("policy-00001") / "adapter").read_text() == "1"
        assert run.metrics() == [{"step": 1}]
        assert names(run.rollouts_folder.iterdir()) == ["step-00001.jsonl"]
    with works("c") as run:
        assert weights_at(run.result("policy-00001")).is_dir()
        with pytest.raises(FinememError, match=r"policy-00002: the weights are not there any more\. Train again"):
            weights_at(run.result("policy-00002"))


def test_a_result_that_could_not_be_put_is_put_the_next_time(works, monkeypatch):
    def full(self, files):
        raise store.StoreError("refused")

    with works("a") as run:
        with monkeypatch.context() as broken:
            broken.setattr(Mount, "put", full)
            with pytest.raises(store.StoreError):
                run.keep("policy-00001", lambda folder: (folder / "adapter").write_text("1"))
        assert run.has("policy-00001")
    with works("b") as run:
        assert run.has("policy-00001")


def test_a_fresh_run_throws_away_what_is_there(works, volume):
    with works("a") as run:
        update(run, 1)
        run.keep("policy-00001", lambda folder: (folder / "adapter").write_text("1"))
    with works("b", fresh=True) as run:
        assert [path.name for path in (volume / run.folder.name).rglob("*") if path.is_file()] == ["config.json"]
        run.catch_up()
        assert run.checkpoints() == []


def test_who_lost_the_run_to_another_machine_stops_at_the_next_checkpoint(works, monkeypatch):
    with works("a") as run, run.alone():
        update(run, 1)
        monkeypatch.setattr("finemem_pipeline.store.mirror._claims", {f"06_models/{run.folder.name}": "of before"})
        with pytest.raises(store.Superseded, match="has gone on with this very run"):
            update(run, 2)
        assert names(store.whole(run.folder)) == ["checkpoint-1"]


ASKED = Asked("Who?", ("Maria did.",))


def test_the_answers_a_run_has_paid_for_go_with_its_checkpoints(works):
    key = AnswerCache.key("reasoner", ASKED)
    with works("a") as run:
        cache, paid = AnswerCache(run.folder.parent / "answers.sqlite"), Paid(run.folder / "paid.jsonl", 0)
        paid.write([key])
        Paid(run.folder / "1-paid.jsonl", 0).write([b"by the second process"])
        cache.put({key: Reply("Maria")})
        answers = Answers(cache, run.folder)
        with run.writing_checkpoint(1) as folder:
            answers.pack(folder)
        run.put_checkpoint(1)
        answers.unpack(run.newest_checkpoint())  # nothing to do: the run was here
    with works("b") as run:
        run.catch_up()
        cache = AnswerCache(run.folder.parent / "answers.sqlite")
        Answers(cache, run.folder).unpack(run.newest_checkpoint())
        assert cache.get([key]) == {key: Reply("Maria")}
        assert Paid(run.folder / "paid.jsonl", 0).owed == {key}
        assert Paid(run.folder / "1-paid.jsonl", 0).owed == {b"by the second process"}


def test_answers_are_not_packed_where_data_is_kept_here(tmp_path):
    cache, checkpoint = AnswerCache(tmp_path / "answers.sqlite"), tmp_path / "checkpoint-1"
    cache.put({AnswerCache.key("reasoner", ASKED): Reply("Maria")})
    checkpoint.mkdir()
    Paid(tmp_path / "paid.jsonl", 0)
    Answers(cache, tmp_path).pack(checkpoint)
    assert names(checkpoint.iterdir()) == []
