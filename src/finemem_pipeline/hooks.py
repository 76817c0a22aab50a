"""What a `kedro run` leaves in MLflow: one run per command, written by this hook so that no node knows of it.

`compare` has a run for each of its children besides, below that of the command and under the same names of metrics:
nodes in the namespace of a child and data sets of its own belong to its run.

In a pod all goes to the run that the launcher has opened for it and will end.

The hook listens to progress.report for the metrics of training, and to these data sets, once a node has saved them:

- `input_record`, saved or loaded: {"name", "sha256", "files": [{"name", "path", "sha256", "rows"}, …]}, rows if known
- `data_checks`: {"docs": path of the first page of the Data Docs}
- `training_summary`: {"variant", "recipe", "seed", "folder", "adapter", "metrics_file", "rollouts_folder", "steps"}
- `evaluation_table`: the document of evaluation.evaluate_table
- `comparison`: that of evaluation.variants.compare_trainings
- `credit_summary`: {"fidelity": the document of study.summary, "learning": that of study.lessons or None}
- `evaluation_estimate`: the document of evaluation.estimate
- `report_path`, `credit_report_path`, `comparison_path`: the file of the report
- `table_paths`, `matrix_paths`: {"page", "csv"}: the files of the table of record, and those of the matrix
- `matrix_table`: the document of evaluation.matrix

MLflow is imported when a run starts, so that `kedro registry list` does not pay for it. A store that fails costs
nothing but a warning; what it did not take is written beside the models.
"""

from __future__ import annotations

import atexit
import contextlib
import getpass
import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Node, Pipeline
from pydantic import BaseModel, ConfigDict, ValidationError

from finemem_pipeline import progress, store
from finemem_pipeline.beside import beside
from finemem_pipeline.config import Child, CompareConfig
from finemem_pipeline.errors import FinememError, unknown
from finemem_pipeline.reporting.alarms import ALARMS, Episodes, apart
from finemem_pipeline.tracking import Entry, Status, Tracker
from finemem_pipeline.training.runs import digest

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)

GROUP = "FINEMEM_GROUP"
"""Environment variable of every process in a pod: the group of nodes that it runs."""
RUN_ID = "MLFLOW_RUN_ID"
CLUSTERED = "KubernetesRunner"
"""As run_params name the runner of a launcher."""
UNSENT_FOLDER = "data/06_models"  # where there is no training_summary to say better
ROLLOUTS_SHOWN = 8
"""Updates of a run whose rollouts MLflow gets: of a large model they are tens of MB each, and all lie with the data."""


class MlflowConfig(BaseModel):
    """conf/<env>/mlflow.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    tracking_uri: str = "sqlite:///mlflow.db"
    """The environment variable MLFLOW_TRACKING_URI goes before it. A relative sqlite path starts at the project."""
    experiment: str = "finemem"
    tags: dict[str, str] = {}
    """Put on every run."""


def _how_to_look(uri: str, project: Path) -> str:
    """The command that shows a local store, as it can be pasted in the project's folder; the address of a server."""
    if not uri.startswith("sqlite:///"):
        return uri
    program, store = Path(sys.executable).with_name("mlflow"), Path(uri.removeprefix("sqlite:///"))
    inside = [path.relative_to(project) if path.is_relative_to(project) else path for path in (program, store)]
    return f"{inside[0]} ui --backend-store-uri sqlite:///{inside[1]}"


class MlflowHook:
    """Kedro hooks around one run at a time."""

    def __init__(self) -> None:
        self._context: Any = None
        self._tracker: Tracker | None = None  # of the command
        self._children: dict[str, Child] = {}  # by namespace
        self._runs: dict[str, Tracker] = {}  # of those that have begun
        self._left: dict[str, set[str]] = {}  # data sets of each that are still to be made
        self._at = ""  # the namespace of the node that is at work
        self._record: Mapping[str, Any] | None = None  # of the data, for runs that begin later
        self._project = Path()
        self._models = Path()
        self._look = self._pipeline = ""
        self._heard: set[str] = set()
        self._alarms: dict[str, Episodes] = {}
        self._undo: list[Callable[[], object]] = []
        self._joined = False  # another process has opened the run and will end it
        self._launch: str | None = None  # what a launcher and the next one have in common

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        self._context = context

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        self._end("KILLED")  # a run that was interrupted in a process that lives on
        if self._context is None:
            return
        config = read_config(self._context.config_loader)
        self._joined = GROUP in os.environ and RUN_ID in os.environ
        if not config.enabled:
            return
        self._heard = set()
        self._alarms = {}
        self._record = None
        self._project = Path(self._context.project_path).resolve()
        self._models = self._project / UNSENT_FOLDER
        uri = tracking_uri(self.store() or config.tracking_uri, self._project)
        self._look = _how_to_look(uri, self._project)
        params = plain(self._context.params)
        self._pipeline = pipeline_name(run_params)
        compare = CompareConfig.model_validate(params.get("compare", {}))
        self._left = {} if self._joined else _own_data_sets(pipeline, compare.children)
        self._children = {child.name: child for child in compare.children if child.name in self._left}
        training = params.get("training", {})
        if self._children:
            several = {"reward": "+".join(compare.variants), "seed": "+".join(map(str, compare.seeds))}
            training = {**training, **several}
        self._launch = digest(command(run_params)) if run_params.get("runner") == CLUSTERED else None
        self._new = partial(
            Tracker,
            cache(lambda: _connect(uri)),
            experiment=config.experiment,
            artifacts=(self._project / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None,
        )
        self._tags = {**_tags(run_params, self._project), **config.tags}
        if self._joined:
            self._tracker = self._new(name="", run_id=os.environ[RUN_ID])
        else:
            name = self._run_name(training.get("reward"), training.get("seed"))
            self._tracker = self._new(name=name, goes_on=self._mark(""))
            self._describe(self._tracker, params, training, "")
        self._undo = [progress.subscribe(self._on_progress), self._at_exit()]

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Metrics of training that are told from now on are those of this node."""
        self._at = node.namespace or ""

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """What an earlier run has made and this one reads."""
        if dataset_name not in ("input_record", "training_summary") or not data:  # empty where nothing was made
            return
        if dataset_name == "input_record":
            self.after_dataset_saved(dataset_name, data)
        elif self._tracker is not None and dataset_name not in self._heard:
            self._heard.add(dataset_name)
            told = {key: data[key] for key in ("variant", "recipe", "seed")}
            if not self._joined:
                told["mlflow.runName"] = self._run_name(data["variant"], data["seed"])
            self._tracker.tags(told)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        namespace, _, name = dataset_name.rpartition("__")
        tracker = self._run_of(namespace)
        if tracker is None:
            return
        if name in _LISTENERS and dataset_name not in self._heard:
            self._heard.add(dataset_name)
            try:
                _LISTENERS[name](self, tracker, data)
            except Exception:  # what a node has made is worth more than its entry here
                _log.exception("'%s' could not be read for MLflow", dataset_name)
            tracker.flush()
        if namespace in self._children:
            self._left[namespace].discard(dataset_name)
            if not self._left[namespace]:
                self._finish(tracker, "FINISHED")

    @hook_impl
    def after_pipeline_run(self) -> None:
        self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        if self._joined:
            self._end("FAILED")  # the launcher tells
            return
        told = {"error": f"{type(error).__name__}: {error}"}
        if self._tracker is not None:
            self._tracker.tags(told)
        if (guilty := self._runs.get(self._at)) is not None:
            guilty.tags(told)
            self._left[self._at].clear()
            self._finish(guilty, "FAILED")
        self._end("FAILED")

    def store(self) -> str | None:
        """Where runs are recorded, as it is configured; None if they are not."""
        config = read_config(self._context.config_loader)
        return (os.environ.get("MLFLOW_TRACKING_URI") or config.tracking_uri) if config.enabled else None

    def address(self, group: str) -> dict[str, str]:
        """Environment variables by which the pods of a group find the run that they log into: that of the child whose
        namespace it is, or else of the command.
        """
        tracker, uri = self._run_of(group), self.store()
        if tracker is None or uri is None:
            return {}
        tracker.flush(insist=True)
        return {"MLFLOW_TRACKING_URI": uri, **({RUN_ID: tracker.run_id} if tracker.run_id else {})}

    def record(self, group: str, tags: Mapping[str, str], texts: Mapping[str, str]) -> None:
        """What is known of the job of a group; `texts`: artefacts by name."""
        tracker = self._run_of(group)
        if tracker is not None:
            tracker.tags(tags)
            for name, text in texts.items():
                tracker.text(name, text)
            tracker.flush()

    def ended(self, group: str, status: Status) -> None:
        """The pods of a group are through with a child, or have failed."""
        if group in self._runs:
            self._left[group].clear()
            self._finish(self._runs[group], status)

    def leave(self) -> None:
        """What has begun goes on without this process."""
        self._end(None)

    def _run_of(self, namespace: str) -> Tracker | None:
        """Of the child, if it is one's namespace, or else of the command. None: nothing is recorded."""
        child = self._children.get(namespace)
        if self._tracker is None or child is None:
            return self._tracker
        if namespace not in self._runs:
            params = plain(self._context.params)
            own = {"reward": child.variant, "seed": child.seed, "steps": params["compare"]["steps"]}
            name = f"{child.variant}-{child.seed}"
            tracker = self._new(name=name, parent=self._tracker, goes_on=self._mark(namespace))
            self._describe(tracker, {**params, "training": {**params["training"], **own}}, own, namespace)
            if self._record is not None:
                self._input_record(tracker, self._record)
            self._runs[namespace] = tracker
        return self._runs[namespace]

    def _mark(self, namespace: str) -> dict[str, str]:
        """The tag by which a launcher that is started again finds the runs of the one that was killed."""
        return {} if self._launch is None else {"launch": f"{self._launch}/{namespace}"}

    def _describe(
        self, tracker: Tracker, params: Mapping[str, Any], training: Mapping[str, Any], namespace: str
    ) -> None:
        """What was asked for."""
        told = {"variant": training.get("reward"), "recipe": params.get("training", {}).get("recipe")}
        tracker.tags({**told, "seed": training.get("seed"), **self._mark(namespace), **self._tags})
        tracker.params(flatten(params))
        tracker.text("parameters.yml", yaml.safe_dump(params, sort_keys=False, allow_unicode=True))
        tracker.flush()

    def _on_progress(self, step: int, metrics: Mapping[str, float]) -> None:
        tracker = self._run_of(self._at)
        if tracker is not None:
            tracker.metrics(step, {f"train/{name}": value for name, value in metrics.items()})
            place, own = apart(metrics)
            alarms = self._alarms.setdefault(f"{self._at} {place}", Episodes())
            for name in alarms.hear(step, own):
                begun = ", ".join(str(update) for update in alarms.begun[name])
                tracker.tags({f"alarm.{place}{name}": f"since update {begun}: {ALARMS[name].message(own)}"})

    def _input_record(self, tracker: Tracker, record: Mapping[str, Any]) -> None:
        self._record = record
        files = {file["name"]: file for file in record["files"]}
        tracker.dataset(
            record["name"],
            record["sha256"],
            source=json.dumps({name: self._relative(file["path"]) for name, file in files.items()}),
            profile=json.dumps({name: {"rows": file.get("rows")} for name, file in files.items()}),
        )
        tracker.tags({f"data.{name}": file["sha256"] for name, file in files.items()})

    def _data_checks(self, tracker: Tracker, checks: Mapping[str, Any]) -> None:
        tracker.artifact((self._project / checks["docs"]).parent, "data_docs")

    def _training_summary(self, tracker: Tracker, summary: Mapping[str, Any]) -> None:
        self._models = self._project / summary["folder"]
        if (self._project / summary["metrics_file"]).exists():  # a run of no updates makes none
            tracker.artifact(self._project / summary["metrics_file"])
        for path in spread(sorted((self._project / summary["rollouts_folder"]).glob("step-*.jsonl")), ROLLOUTS_SHOWN):
            tracker.artifact(path, "rollouts")
        told = {key: str(summary[key]) for key in ("variant", "recipe", "seed", "steps")}
        name = f"{summary['recipe']}-{summary['variant']}-{summary['seed']}"
        tracker.model(name, self._project / summary["adapter"], step=summary["steps"], kind="policy", params=told)

    def _evaluation_table(self, tracker: Tracker, table: Mapping[str, Any]) -> None:
        tracker.text("evaluation.json", json.dumps(table, indent=1))
        for row in table["rows"]:
            for source, cell in {**row["sources"], "mean": row["mean"]}.items():
                start = f"eval/{row['manager']}/{source}"
                tracker.metrics(0, {f"{start}/score": cell["score"], f"{start}/memory_tokens": cell["memory_tokens"]})

    def _comparison(self, tracker: Tracker, comparison: Mapping[str, Any]) -> None:
        self._evaluation_table(tracker, comparison["table"])

    def _credit_summary(self, tracker: Tracker, summary: Mapping[str, Any]) -> None:
        tracker.text("credit.json", json.dumps(summary, indent=1))
        for row in summary["fidelity"]["schemes"]:
            for name, cell in row["measures"].items():
                tracker.metrics(
                    0, {f"credit/{row['scheme']}/{name.replace(', ', '_').replace(' ', '_')}": cell["mean"]}
                )
            tracker.metrics(0, {f"credit/{row['scheme']}/milliseconds": row["milliseconds"]["mean"]})
        for row in (summary["learning"] or {"runs": ()})["runs"]:
            start = f"learning/{row['variant']}/T{row['steps']}"
            told = {name: row[name]["mean"] for name in ("mean_score", "final_score", "final_tokens")}
            told |= {name: row[name]["median"] for name in ("updates_to_goal", "calls_to_goal")}
            told["collapsed"] = sum(row["collapsed"].values())
            tracker.metrics(0, {f"{start}/{name}": value for name, value in told.items()})
            for at in row["curve"]:
                tracker.metrics(at["update"], {f"{start}/score": at["score"], f"{start}/tokens": at["tokens"]})

    def _matrix_table(self, tracker: Tracker, table: Mapping[str, Any]) -> None:
        tracker.text("matrix.json", json.dumps(table, indent=1))
        for cell in table["cells"]:
            start = f"matrix/{cell['backbone']}/{cell['reader']}"
            tracker.metrics(0, {f"{start}/gain/{key}": cell["gain"][key] for key in ("mean", "low", "high")})
            for row in cell["evaluation"]["rows"]:
                told = {key: row["mean"][key] for key in ("score", "memory_tokens")}
                tracker.metrics(0, {f"{start}/{row['manager']}/{key}": value for key, value in told.items()})

    def _report_path(self, tracker: Tracker, path: str) -> None:
        tracker.artifact(self._project / path)

    def _table_paths(self, tracker: Tracker, paths: Mapping[str, str]) -> None:
        for path in paths.values():
            tracker.artifact(self._project / path)

    def _estimate(self, tracker: Tracker, estimate: Mapping[str, Any]) -> None:
        tracker.text("estimate.json", json.dumps(estimate, indent=1))

    def _run_name(self, variant: object, seed: object) -> str:
        """The pipelines, and what is trained where something is trained or evaluated."""
        trained = {"default", "train", "evaluate"} & set(self._pipeline.split("+"))
        return f"{self._pipeline}-{variant}-{seed}" if trained else self._pipeline

    def _relative(self, path: str) -> str:
        """The path as seen from the project, if it lies there."""
        full = (self._project / path).resolve()
        return str(full.relative_to(self._project)) if full.is_relative_to(self._project) else str(full)

    def _at_exit(self) -> Callable[[], object]:
        """Kedro tells no hook of Ctrl-C or SIGTERM: the end of the process does."""

        def killed() -> None:
            self._end("KILLED")

        atexit.register(killed)
        return lambda: atexit.unregister(killed)

    def _end(self, status: Status | None) -> None:
        tracker, self._tracker = self._tracker, None
        for undo in self._undo:
            undo()
        self._undo, self._at = [], ""
        if tracker is None:
            return
        for namespace, run in self._runs.items():
            if self._left[namespace]:
                self._finish(run, "KILLED" if status == "FAILED" else status)
        self._runs = {}
        self._finish(tracker, None if self._joined else status)
        if tracker.run_id is not None and not self._joined:
            click.echo(f"MLflow: {self._look}")

    def _finish(self, tracker: Tracker, status: Status | None) -> None:
        unsent = tracker.finish(status)
        if unsent:
            path = keep(unsent, self._models, tracker.run_id)
            with contextlib.suppress(store.StoreError):
                store.put(path)
            _log.warning("MLflow did not take %d entries of this run; they are in %s", len(unsent), path)


_LISTENERS: dict[str, Callable[[MlflowHook, Tracker, Any], None]] = {
    "comparison": MlflowHook._comparison,
    "comparison_path": MlflowHook._report_path,
    "credit_report_path": MlflowHook._report_path,
    "credit_summary": MlflowHook._credit_summary,
    "data_checks": MlflowHook._data_checks,
    "evaluation_estimate": MlflowHook._estimate,
    "evaluation_table": MlflowHook._evaluation_table,
    "input_record": MlflowHook._input_record,
    "matrix_paths": MlflowHook._table_paths,
    "matrix_table": MlflowHook._matrix_table,
    "report_path": MlflowHook._report_path,
    "table_paths": MlflowHook._table_paths,
    "training_summary": MlflowHook._training_summary,
}


def _own_data_sets(pipeline: Pipeline, children: Iterable[Child]) -> dict[str, set[str]]:
    """What the nodes of each child will have made, by namespace; children without a node here are left out."""
    made = pipeline.all_outputs()
    found = {child.name: {name for name in made if name.startswith(child.dataset(""))} for child in children}
    return {name: outputs for name, outputs in found.items() if outputs}


LIST_OPTIONS = {
    "pipelines": "pipeline_names",
    "tags": "tags",
    "nodes": "node_names",
    "from-nodes": "from_nodes",
    "to-nodes": "to_nodes",
    "from-inputs": "from_inputs",
    "to-outputs": "to_outputs",
    "namespaces": "namespaces",
}
"""Of `kedro run`, and what Kedro calls them in run_params."""


def read_config(loader: Mapping[str, Any]) -> MlflowConfig:
    """conf's mlflow.yml. Raises FinememError naming the field and what was found; without a file all is default."""
    from kedro.config import MissingConfigException

    try:
        found = loader["mlflow"]
    except MissingConfigException:
        return MlflowConfig()
    try:
        return MlflowConfig.model_validate(found)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            where = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                faults.append(unknown("mlflow.yml", where, MlflowConfig.model_fields, "key"))
            else:
                faults.append(f"mlflow.yml: {where}: {fault['msg']}, found {fault['input']!r}")
        raise FinememError("\n".join(faults)) from None


def tracking_uri(uri: str, project: Path) -> str:
    """The address with a relative sqlite path made absolute."""
    start = "sqlite:///"
    if not uri.startswith(start):
        return uri
    return f"{start}{(project / uri.removeprefix(start)).resolve()}"


def pipeline_name(run_params: Mapping[str, Any]) -> str:
    """The pipelines of a run, joined by '+'."""
    return "+".join(run_params.get("pipeline_names") or ["default"])


def command(run_params: Mapping[str, Any]) -> str:
    """The `kedro run` that does the same, without paths of this machine."""
    words = ["kedro run"]
    if run_params.get("env"):
        words.append(f"--env={run_params['env']}")
    for option, key in LIST_OPTIONS.items():
        if run_params.get(key):
            words.append(f"--{option}={','.join(run_params[key])}")
    if runtime := run_params.get("runtime_params"):
        words.append("--params=" + ",".join(f"{key}={value}" for key, value in flatten(plain(runtime), "+").items()))
    return " ".join(words)


def plain(value: Any) -> Any:
    """Parameters as YAML and JSON hold them: models as mappings, anything unknown as text."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def flatten(params: Mapping[str, Any], joint: str = ", ", start: str = "") -> dict[str, str]:
    """Nested parameters by dotted name; lists become one text."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, joint, f"{start}{key}.")
        elif isinstance(value, list):
            flat[f"{start}{key}"] = joint.join(str(inner) for inner in value)
        else:
            flat[f"{start}{key}"] = str(value)
    return flat


def spread(items: Sequence[Path], most: int) -> list[Path]:
    """At most so many, at even distances, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def keep(unsent: Sequence[Entry], folder: Path, run_id: str | None) -> Path:
    """Writes the entries as JSON lines, in one move; the run's id, or its name and time, is in the name."""
    run = run_id or "{name}-{started}".format(**unsent[0].content)
    path = folder / f"mlflow-unsent-{run}.jsonl"
    with beside(path) as part:
        part.write_text(
            "".join(json.dumps({"kind": entry.kind, **entry.content}) + "\n" for entry in unsent), encoding="utf-8"
        )
    return path


def _connect(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow's own patience, 7 tries of 120 s, would hold up the training; here the queue is what is patient.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    if uri.startswith("sqlite:///"):
        _knock(Path(uri.removeprefix("sqlite:///")))
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # the tracker gives the warning, once
    return MlflowClient(uri)


def _knock(store: Path) -> None:
    """Raises sqlite3.Error within seconds if a store that is there is locked or none; MLflow tries for minutes."""
    if store.exists():
        with contextlib.closing(sqlite3.connect(store, timeout=2.0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()


def _tags(run_params: Mapping[str, Any], project: Path) -> dict[str, object]:
    commit, dirty = _git("rev-parse HEAD", project), _git("status --porcelain", project)
    tags: dict[str, object] = {
        "pipeline": pipeline_name(run_params),
        "command": command(run_params),
        "mlflow.source.name": command(run_params),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    if commit is not None:
        tags |= {"git.commit": commit, "git.dirty": str(bool(dirty)).lower(), "mlflow.source.git.commit": commit}
    return tags


def _git(arguments: str, project: Path) -> str | None:
    """What git answers, or None where there is no git or no repository."""
    try:
        asked = subprocess.run(
            ["git", *arguments.split()], cwd=project, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "unknown"
