"""One MLflow run, and the queue of what is still to be written to it.

A tracking store may be away for a while, or for good; training goes on. Whatever cannot be sent stays in the queue,
is tried again later, and is handed back at the end. MLflow is imported when the store is first spoken to.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Status = Literal["FINISHED", "FAILED", "KILLED"]

_log = logging.getLogger(__name__)

_FILES = ("artifact", "model", "text")
_PARAMS_AT_ONCE = 100  # MLflow's limits
_METRICS_AT_ONCE = 1000
_KEY_LENGTH = 250
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_DIGEST_LENGTH = 36
_FLUSH_EVERY = 5.0  # seconds between two deliveries of metrics
_FIRST_WAIT, _LONGEST_WAIT = 15.0, 600.0  # seconds before a store that failed is tried again


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be written; JSON-able, so that what could not be sent can be kept."""

    kind: str  # a name in Tracker._senders
    content: dict[str, Any]


@dataclass(slots=True)
class _Lane:
    """Entries that wait for the same part of the store, in order, and when to try again after a failure."""

    queue: deque[Entry] = field(default_factory=deque)
    not_before: float = -math.inf
    wait: float = 0.0
    warned: bool = False


class Tracker:
    """Writes to one run, now or later. No method raises because of the store."""

    def __init__(
        self,
        connect: Callable[[], MlflowClient],
        *,
        experiment: str,
        name: str,
        artifacts: str | None = None,
        parent: Tracker | None = None,
        run_id: str | None = None,
        goes_on: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connect` gives the client; `artifacts` is where a new experiment keeps its files, None where the store
        decides; `parent` has the run that this one is shown below. `run_id`: a run that is there. `goes_on`: tags by
        which a run is found whose process was killed; it is gone on with instead of making a new one.
        """
        self.run_id = run_id  # None until the store has accepted the run
        self._goes_on = goes_on
        self._sending = threading.Lock()
        self._connect = connect
        self._client: MlflowClient | None = None
        self._experiment = experiment
        self._experiment_id = ""
        self._name = name
        self._artifacts = artifacts
        self._parent = parent
        self._clock = clock
        self._started = _now()
        self._rows = _Lane()  # what goes to the tracking store
        self._files = _Lane()  # what goes to the artefact store, which may be another one, with faults of its own
        self._refused: list[Entry] = []
        self._delivered = -math.inf
        self._senders: dict[str, Callable[[MlflowClient, str, dict[str, Any]], None]] = {
            "artifact": _send_artifact,
            "dataset": _send_dataset,
            "metrics": _send_metrics,
            "model": self._send_model,
            "params": _send_params,
            "tags": _send_tags,
            "text": _send_text,
        }

    def params(self, values: Mapping[str, object]) -> None:
        """Parameters by name; keys and values are cut to what MLflow takes."""
        pairs = [(key_for_store(key), str(value)[:_PARAM_LENGTH]) for key, value in values.items()]
        for start in range(0, len(pairs), _PARAMS_AT_ONCE):
            self._put("params", {"values": dict(pairs[start : start + _PARAMS_AT_ONCE])})

    def tags(self, values: Mapping[str, object]) -> None:
        """Tags by name."""
        self._put("tags", {"values": {key_for_store(key): str(value)[:_TAG_LENGTH] for key, value in values.items()}})

    def metrics(self, step: int, values: Mapping[str, float | None]) -> None:
        """Metrics of one step; missing and non-finite values are left out. Delivered within seconds, not at once."""
        finite = {
            key_for_store(name): float(value)
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        }
        if finite:
            self._put("metrics", {"step": int(step), "timestamp": _now(), "values": finite})
        if self._clock() - self._delivered >= _FLUSH_EVERY:
            self.flush()

    def text(self, name: str, text: str) -> None:
        """A small artefact, given as text."""
        self._put("text", {"name": name, "text": text})

    def artifact(self, path: str | Path, folder: str | None = None) -> None:
        """A file, or a folder with all it holds, put into `folder` of the run's artefacts."""
        self._put("artifact", {"path": str(path), "folder": folder})

    def dataset(self, name: str, digest: str, *, source: str, profile: str) -> None:
        """A data set that the run read; where it lies and what it holds are given as JSON."""
        digest = digest[:_DIGEST_LENGTH]
        self._put("dataset", {"name": name, "digest": digest, "source": source, "profile": profile})

    def model(self, name: str, folder: str | Path, *, step: int, kind: str, params: Mapping[str, str]) -> None:
        """A folder of weights as a logged model of the run.

        A LoggedModel takes the files as they are: it stands among the experiment's models, with the run that made it,
        and needs neither torch nor a flavour in this process.
        """
        clean = re.sub(r"[^\w-]", "_", name)
        self._put(
            "model",
            {"name": clean, "folder": str(folder), "step": step, "type": kind, "params": dict(params), "id": None},
        )

    def flush(self, *, insist: bool = False) -> None:
        """Sends what is queued. A store that failed is left alone for a while, unless one insists."""
        with self._sending:
            self._delivered = self._clock()
            for lane in (self._rows, self._files):
                if insist or self._delivered >= lane.not_before:
                    self._deliver(lane)
                if self._rows.wait:
                    return  # without the run there is nowhere to put its files

    def finish(self, status: Status | None) -> list[Entry]:
        """Ends the run, or leaves it as it is (None). Returns what could not be sent, the run itself first if the
        store never took it.
        """
        self.flush(insist=True)
        if status is not None and self.run_id is not None and self._client is not None:
            try:
                self._client.set_terminated(self.run_id, status)
            except Exception as error:
                self._failed(self._rows, error)
                self._put("status", {"status": status})
        unsent = [*self._refused, *self._rows.queue, *self._files.queue]
        if self.run_id is None:
            run = {"experiment": self._experiment, "name": self._name, "started": self._started, "status": status}
            unsent.insert(0, Entry("run", run))
        return unsent

    def _put(self, kind: str, content: dict[str, Any]) -> None:
        lane = self._files if kind in _FILES else self._rows
        lane.queue.append(Entry(kind, content))

    def _deliver(self, lane: _Lane) -> None:
        try:
            client, run_id = self._open()
            while lane.queue:
                self._send_next(lane.queue, client, run_id)
        except Exception as error:
            self._failed(lane, error)
        else:
            lane.wait = 0.0

    def _failed(self, lane: _Lane, error: Exception) -> None:
        lane.wait = min(_LONGEST_WAIT, 2 * lane.wait or _FIRST_WAIT)
        lane.not_before = self._clock() + lane.wait
        level = logging.DEBUG if lane.warned else logging.WARNING
        store = "artefact store" if lane is self._files else "tracking store"
        _log.log(level, "MLflow's %s fails; the run goes on, and what it logs is kept. %s", store, _first_line(error))
        lane.warned = True

    def _open(self) -> tuple[MlflowClient, str]:
        """The client and the run, made on the first call that reaches the store."""
        if self._client is None:
            self._client = self._connect()
        if self.run_id is None:
            self._experiment_id = _experiment_id(self._client, self._experiment, self._artifacts)
            run = self._unended() or self._client.create_run(
                self._experiment_id, start_time=self._started, run_name=self._name, tags=self._place()
            )
            self.run_id = run.info.run_id
        elif not self._experiment_id:
            self._experiment_id = self._client.get_run(self.run_id).info.experiment_id
        return self._client, self.run_id

    def _place(self) -> dict[str, str]:
        """The tags that put the run below another one."""
        return {} if self._parent is None else {"mlflow.parentRunId": self._parent._open()[1]}

    def _unended(self) -> Run | None:
        """The run with these tags: one that never ended, or any below a parent that never did."""
        if not self._goes_on or self._client is None:
            return None
        tags = {**self._goes_on, **self._place()}
        terms = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        if self._parent is None:
            terms.append("attributes.status = 'RUNNING'")
        found = self._client.search_runs([self._experiment_id], " and ".join(terms))
        return found[0] if found else None

    def _send_next(self, queue: deque[Entry], client: MlflowClient, run_id: str) -> None:
        """Sends the oldest entry, metrics together with those that follow. One that is itself at fault is put aside."""
        entry, together = queue[0], 1
        try:
            if entry.kind == "metrics":
                rows = _leading_metrics(queue)
                together = len(rows)
                _send_metrics(client, run_id, *rows)
            else:
                self._senders[entry.kind](client, run_id, entry.content)
        except Exception as error:
            if not _own_fault(error):
                raise
            _log.warning("MLflow does not take %s: %s", entry.kind, _first_line(error))
            self._refused.extend(queue[place] for place in range(together))
        for _ in range(together):
            queue.popleft()

    def _send_model(self, client: MlflowClient, run_id: str, content: dict[str, Any]) -> None:
        from mlflow.entities import LoggedModelOutput

        if not Path(content["folder"]).is_dir():
            raise FileNotFoundError(content["folder"])
        if content["id"] is None:  # kept, so that a second try does not make a second model
            model = client.create_logged_model(
                self._experiment_id,
                name=content["name"],
                source_run_id=run_id,
                params=content["params"],
                model_type=content["type"],
            )
            content["id"] = model.model_id
        client.log_model_artifacts(content["id"], content["folder"])
        client.finalize_logged_model(content["id"], "READY")
        client.log_outputs(run_id, [LoggedModelOutput(content["id"], content["step"])])


def key_for_store(name: str) -> str:
    """The name with what MLflow does not take in a key replaced by '_', cut to its limit."""
    return re.sub(r"[^\w\-. /:]", "_", re.sub(r"/{2,}", "/", name)).strip("/")[:_KEY_LENGTH]


def _experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name, artifacts)


def _leading_metrics(queue: deque[Entry]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for entry in queue:
        size += len(entry.content.get("values", ()))
        if entry.kind != "metrics" or (rows and size > _METRICS_AT_ONCE):
            break
        rows.append(entry.content)
    return rows


def _send_metrics(client: MlflowClient, run_id: str, *rows: dict[str, Any]) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(key, value, row["timestamp"], row["step"]) for row in rows for key, value in row["values"].items()
    ]
    for start in range(0, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=metrics[start : start + _METRICS_AT_ONCE])


def _send_params(client: MlflowClient, run_id: str, content: dict[str, Any]) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, value) for key, value in content["values"].items()])


def _send_tags(client: MlflowClient, run_id: str, content: dict[str, Any]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in content["values"].items()])


def _send_text(client: MlflowClient, run_id: str, content: dict[str, Any]) -> None:
    client.log_text(run_id, content["text"], content["name"])


def _send_artifact(client: MlflowClient, run_id: str, content: dict[str, Any]) -> None:
    path = Path(content["path"])
    if path.is_dir():
        client.log_artifacts(run_id, str(path), content["folder"])
    else:
        client.log_artifact(run_id, str(path), content["folder"])


def _send_dataset(client: MlflowClient, run_id: str, content: dict[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(
        content["name"],
        content["digest"],
        source_type="local",
        source=content["source"],
        profile=content["profile"],
    )
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", content["name"])])])


def _own_fault(error: Exception) -> bool:
    """Whether the entry is to blame rather than the store: it would be refused again."""
    if isinstance(error, FileNotFoundError | TypeError | ValueError):
        return True
    status = getattr(error, "get_http_status_code", None)
    return status is not None and status() == 400


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"


def _now() -> int:
    return int(time.time() * 1000)
