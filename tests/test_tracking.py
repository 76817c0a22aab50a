from __future__ import annotations

import logging
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from finemem_pipeline.tracking import Tracker, key_for_store


class FakeStore:
    """A client that remembers what it was sent, and fails while `down` or, for files, while `files_down`."""

    def __init__(self) -> None:
        self.down = False
        self.files_down = False
        self.metrics: list[tuple[str, float, int]] = []
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.files: list[tuple[str, str | None]] = []
        self.inputs: list[Any] = []
        self.models: list[str] = []
        self.batches = 0
        self.status: str | None = None

    def _answer(self, files: bool = False) -> None:
        if self.down or (files and self.files_down):
            raise ConnectionError("connection refused\nand a long story")

    def get_experiment_by_name(self, name):
        self._answer()

    def create_experiment(self, name, artifact_location):
        return "7"

    def create_run(self, experiment_id, start_time, run_name, tags):
        self._answer()
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        self._answer()
        if any(param.key == "bad" for param in params):
            raise ValueError("no such parameter, ever")
        self.batches += 1
        self.metrics += [(metric.key, metric.value, metric.step) for metric in metrics]
        self.params |= {param.key: param.value for param in params}
        self.tags |= {tag.key: tag.value for tag in tags}

    def log_text(self, run_id, text, name):
        self._answer(files=True)
        self.files.append((name, text))

    def log_artifact(self, run_id, path, folder):
        self._answer(files=True)
        self.files.append((path, folder))

    def log_inputs(self, run_id, datasets):
        self._answer()
        self.inputs += datasets

    def create_logged_model(self, experiment_id, name, source_run_id, params, model_type):
        self._answer()
        self.models.append(name)
        return SimpleNamespace(model_id="m1")

    def log_model_artifacts(self, model_id, folder):
        self._answer(files=True)

    def finalize_logged_model(self, model_id, status):
        pass

    def log_outputs(self, run_id, models):
        pass

    def set_terminated(self, run_id, status):
        self._answer()
        self.status = status


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tracker(store, clock):
    return Tracker(lambda: store, experiment="finemem", name="train-fine_mem-0", clock=clock)


def test_what_is_told_arrives(tracker, store):
    tracker.params({"training.seed": 0})
    tracker.tags({"variant": "fine_mem"})
    tracker.metrics(3, {"train/loss": 0.5})
    tracker.text("evaluation.json", "{}")
    assert tracker.finish("FINISHED") == []
    assert store.params == {"training.seed": "0"}
    assert store.tags == {"variant": "fine_mem"}
    assert store.metrics == [("train/loss", 0.5, 3)]
    assert store.files == [("evaluation.json", "{}")]
    assert store.status == "FINISHED"


def test_missing_and_non_finite_metrics_are_left_out(tracker, store):
    tracker.metrics(1, {"a": None, "b": float("nan"), "c": float("inf"), "d": 0.0})
    tracker.finish("FINISHED")
    assert store.metrics == [("d", 0.0, 1)]


def test_metrics_of_many_steps_travel_together(tracker, store):
    tracker.flush()
    for step in range(100):
        tracker.metrics(step, {"loss": 1.0, "entropy": 2.0})
    assert store.batches == 0  # less than five seconds have passed
    tracker.finish("FINISHED")
    assert store.batches == 1
    assert len(store.metrics) == 200


def test_metrics_are_delivered_while_the_training_runs(tracker, store, clock):
    tracker.metrics(1, {"loss": 1.0})
    assert store.metrics == [("loss", 1.0, 1)]
    tracker.metrics(2, {"loss": 0.5})
    clock.now += 6
    tracker.metrics(3, {"loss": 0.25})
    assert [step for _, _, step in store.metrics] == [1, 2, 3]


def test_a_store_that_comes_back_gets_everything_in_order_and_one_warning_was_given(tracker, store, clock, caplog):
    store.down = True
    with caplog.at_level(logging.WARNING):
        for step in range(4):
            tracker.metrics(step, {"loss": float(step)})
            clock.now += 60
    assert store.metrics == []
    assert len(caplog.records) == 1
    assert "ConnectionError: connection refused" in caplog.text
    assert "long story" not in caplog.text
    store.down = False
    assert tracker.finish("FINISHED") == []
    assert [step for _, _, step in store.metrics] == [0, 1, 2, 3]


def test_a_store_that_failed_is_left_alone_for_a_while(store, clock):
    tries = []

    def connect():
        tries.append(clock.now)
        raise ConnectionError

    tracker = Tracker(connect, experiment="finemem", name="n", clock=clock)
    for step in range(600):
        tracker.metrics(step, {"loss": 0.0})
        clock.now += 1
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits == pytest.approx([15, 30, 60, 120, 240], abs=5)


def test_what_a_lost_store_never_took_is_handed_back(tracker, store):
    store.down = True
    tracker.tags({"variant": "fine_mem"})
    tracker.metrics(1, {"loss": 0.5})
    tracker.text("parameters.yml", "training: {}")
    unsent = tracker.finish("FAILED")
    assert [entry.kind for entry in unsent] == ["run", "tags", "metrics", "text"]
    assert unsent[0].content["status"] == "FAILED"
    assert unsent[2].content["values"] == {"loss": 0.5}


def test_a_store_lost_on_the_way_keeps_what_it_has_and_hands_back_the_rest(tracker, store, clock):
    tracker.metrics(1, {"loss": 0.5})
    store.down = True
    clock.now += 60
    tracker.metrics(2, {"loss": 0.25})
    unsent = tracker.finish("FINISHED")
    assert [entry.kind for entry in unsent] == ["metrics", "status"]
    assert unsent[0].content["step"] == 2


def test_a_failing_artefact_store_does_not_hold_up_the_metrics(tracker, store, tmp_path):
    store.files_down = True
    tracker.artifact(tmp_path / "report.html")
    tracker.flush()
    (tmp_path / "report.html").touch()
    tracker.metrics(1, {"loss": 0.5})
    unsent = tracker.finish("FINISHED")
    assert store.metrics == [("loss", 0.5, 1)]
    assert [entry.content["path"] for entry in unsent] == [str(tmp_path / "report.html")]
    assert store.status == "FINISHED"


def test_an_entry_that_is_itself_at_fault_is_put_aside_and_the_next_ones_go_on(tracker, store, caplog):
    tracker.params({"bad": 1})
    tracker.params({"good": 2})
    unsent = tracker.finish("FINISHED")
    assert store.params == {"good": "2"}
    assert [entry.content for entry in unsent] == [{"values": {"bad": "1"}}]
    assert "MLflow does not take params" in caplog.text


def test_a_model_that_needed_a_second_try_is_made_once(tracker, store, tmp_path):
    store.files_down = True
    tracker.model("smollm2.fine_mem/0", tmp_path, step=4, kind="policy", params={})
    tracker.flush()
    store.files_down = False
    assert tracker.finish("FINISHED") == []
    assert store.models == ["smollm2_fine_mem_0"]


def test_a_missing_folder_of_weights_makes_no_model(tracker, store, tmp_path):
    tracker.model("adapter", tmp_path / "nowhere", step=0, kind="policy", params={})
    assert [entry.kind for entry in tracker.finish("FINISHED")] == ["model"]
    assert store.models == []


def test_many_and_long_parameters_fit_the_store(tracker, store):
    tracker.params({f"p{n}": "x" * 9000 for n in range(250)})
    tracker.finish("FINISHED")
    assert store.batches == 3
    assert {len(value) for value in store.params.values()} == {6000}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("eval/BM25 (raw)/score", "eval/BM25 _raw_/score"),
        ("train//reward/total/", "train/reward/total"),
        ("β=0.5", "β_0.5"),
        ("x" * 300, "x" * 250),
    ],
)
def test_keys_are_made_fit_for_the_store(name, key):
    assert key_for_store(name) == key
