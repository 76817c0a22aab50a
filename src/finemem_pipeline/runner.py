"""Runs the groups of a pipeline as jobs on Kubernetes, and what needs no pod here.

`--env=k8s` chooses it, because conf/k8s has a runner.yml; an explicit --runner goes before. A pod runs the same project
with Kedro's SequentialRunner and the exact names of its nodes. A job has the same name wherever and whenever the same
work is asked for, so a launcher that is started again attaches to what is running.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

import click
import yaml
from kedro.framework.cli.utils import _split_params
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import AbstractRunner, Task
from kedro.runner.runner import _find_nodes_to_resume_from
from pluggy import PluginManager

from finemem_pipeline import stopping
from finemem_pipeline.cluster import (
    Claim,
    Cluster,
    ClusterError,
    Handle,
    JobSpec,
    KubernetesCluster,
    Manifest,
    Notice,
    Outcome,
    PodEnd,
    SecretKey,
    render,
)
from finemem_pipeline.errors import FinememError
from finemem_pipeline.grouping import (
    PARAMETERS,
    Group,
    groups,
    inputs_digest,
    is_there,
    parameters_digest,
    reaches_pods,
    stuck_data,
    written,
)
from finemem_pipeline.hooks import CLUSTERED, GROUP, MlflowHook, plain
from finemem_pipeline.preflight import TRAINS, PreflightError, not_shared
from finemem_pipeline.runner_config import Rendered, RunnerConfig, parse_runner
from finemem_pipeline.training import fingerprint
from finemem_pipeline.training.runs import digest

_log = logging.getLogger(__name__)


class JobFailed(FinememError):
    """A group did not do its work."""


class Detached(SystemExit):
    """The launcher ends, and its jobs go on."""

    def __init__(self) -> None:
        super().__init__(stopping.RESUME_EXIT_CODE)


class Cancelled(SystemExit):
    """The launcher has ended its jobs, because it was asked to."""

    def __init__(self) -> None:
        super().__init__(130)  # as a shell reports a program that Ctrl-C has ended


class KubernetesRunner(AbstractRunner):
    """One job per group of nodes, side by side where they do not wait for each other."""

    def __init__(self, is_async: bool = False, **options: Any) -> None:
        """Options are the keys of runner.yml; `is_async` is Kedro's, for nodes of the launcher."""
        super().__init__(is_async=is_async)
        self.options = options
        self.cluster: Cluster | None = None
        self.mlflow: MlflowHook | None = None
        self._run_params: Mapping[str, Any] = {}
        self._conf_source: str | None = None
        self._data = "data"

    def __str__(self) -> str:
        return CLUSTERED  # Kedro puts it into run_params, where hooks look

    @contextmanager
    def begun(self, hooks: PluginManager, data: str = "data", conf_source: str | None = None) -> Iterator[None]:
        """Around a run: looks for the cluster first. `data`: where all data is. Raises ConfigError, ClusterError."""
        config = self.config
        self._data, self._conf_source = data, conf_source
        self.mlflow = next((plugin for plugin in hooks.get_plugins() if isinstance(plugin, MlflowHook)), None)
        hooks.register(self)  # called before the others: nothing is recorded of what cannot start
        if group := os.environ.get(GROUP):
            raise ClusterError(
                f"This is a pod of group {group}, and pods start no pods: give --runner=SequentialRunner."
            )
        if config.dry_run:
            logging.disable(logging.INFO)  # what is printed is to be read by kubectl
        elif self.cluster is None:
            self.cluster = KubernetesCluster.connect(
                context=config.context,
                outcomes=config.outcomes or f"{data.rstrip('/')}/08_reporting/jobs",
                patience=config.patience,
                short_patience=config.short_patience,
            )
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
            if isinstance(self.cluster, KubernetesCluster):
                self.cluster.close()

    @property
    def config(self) -> RunnerConfig:
        return parse_runner(self.options)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Looks whether all can be had, before anything is created. A dry run ends here. Raises PreflightError."""
        self._run_params = run_params
        config = self.config
        faults = self._faults(pipeline, catalog)
        launched = [group for group in groups(pipeline).values() if group.in_pod and config.image is not None]
        specs = [self._spec(group, pipeline, catalog) for group in launched]
        for finding in self.cluster.check(config.namespace, specs, config.backend) if self.cluster is not None else ():
            if finding.level == "error":
                faults.append(finding.text)
            elif finding.level == "warning":
                _log.warning("%s", finding.text)
        if config.dry_run:
            for spec in specs:
                click.echo("---\n" + as_yaml(render(spec, config.backend)), nl=False)
            for fault in faults:
                click.echo(f"It would be refused: {fault}", err=True)
            raise Rendered
        if faults:
            raise PreflightError("This cannot run on the cluster:\n" + "\n".join(f"  - {fault}" for fault in faults))

    def _faults(self, pipeline: Pipeline, catalog: CatalogProtocol) -> list[str]:
        """What the cluster need not be asked for."""
        config = self.config
        volume = config.volume.path if config.volume is not None else None
        faults = stuck_data(pipeline, catalog, volume)
        if config.image is None:
            faults.insert(0, "runner.yml: image is not set. Build one (k8s/), push it, and name it there.")
        if 0 < config.gpus < config.processes:
            faults.append(
                f"runner.yml: processes: {config.processes} in a pod of {config.gpus} GPUs, and every process needs "
                "one of its own."
            )
        ranks = config.nodes * config.processes
        if TRAINS & {node.short_name for node in pipeline.nodes if node.namespace}:
            streams = catalog.load("params:training").episodes_per_step
            where = f"{ranks} processes (runner.yml: nodes {config.nodes}, processes {config.processes})"
            faults += [fault] if (fault := not_shared(streams, ranks, where)) else []
        if config.env.get(DATA, self._data) != self._data:
            faults.append(
                f"runner.yml: env.{DATA} is {config.env[DATA]}, and the launcher keeps data at {self._data} "
                "(globals.yml). Pods would look in another place than where it is."
            )
        store = self.mlflow.store() if self.mlflow is not None else None
        if store is not None and store.startswith(SQLITE) and not reaches_pods(store.removeprefix(SQLITE), volume):
            faults.append(
                f"mlflow.yml: tracking_uri {store} is on this machine alone, and pods log into the same run. Name a "
                "server there or in MLFLOW_TRACKING_URI, or say enabled: false."
            )
        return faults

    def _get_executor(self, max_workers: int) -> Executor | None:
        return None  # jobs are watched by threads, one each

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        assert self.cluster is not None, "begin() comes before run()"
        launch = _Launch(self, self.cluster, pipeline, catalog, hook_manager, run_id)
        try:
            launch.run()
        except (KeyboardInterrupt, stopping.Stopped) as signal:
            launch.leave(signal)

    def _spec(
        self, group: Group, pipeline: Pipeline, catalog: CatalogProtocol, launch_env: Mapping[str, str] | None = None
    ) -> JobSpec:
        """What the job of a group is; `launch_env`: what another launch of the same work would set differently."""
        config, part = self.config, pipeline.only_nodes(*group.nodes)
        parameters = parameters_digest(part, catalog)
        arguments = self._arguments(group)
        image = str(config.image)
        identity = digest(
            image,
            None if "@" in image else fingerprint.code(),  # what a tag stands for may change
            arguments,
            parameters,
            inputs_digest(part, catalog),
        )
        volume = config.volume
        return JobSpec(
            pipeline="-".join(self._run_params.get("pipeline_names") or ["default"]),
            group=group.name,
            image=image,
            command=("-m", "kedro", "run", *arguments),
            namespace=config.namespace,
            identity=identity,
            env={GROUP: group.name, PARAMETERS: parameters, DATA: self._data, **config.env},
            secret_env={variable: SecretKey(*place.split("/")) for variable, place in config.secrets.items()},
            launch_env={key: value for key, value in (launch_env or {}).items() if key not in config.env},
            nodes=config.nodes,
            processes=config.processes,
            gpus=config.gpus,
            cpu=config.cpu,
            memory=config.memory,
            shm=config.shm,
            scratch=config.scratch,
            claims=(Claim(volume.claim, str(Path(config.project_path, volume.path)), volume.sub_path),)
            if volume is not None
            else (),
            service_account=config.service_account,
            pull_secrets=tuple(config.pull_secrets),
            node_selector=config.node_selector,
            priority_class=config.priority_class,
            queue=config.queue,
            grace_seconds=config.grace,
            backoff_limit=config.retries,
            deadline_seconds=config.deadline,
            ttl_seconds=config.keep,
        )

    def _arguments(self, group: Group) -> tuple[str, ...]:
        """Of the `kedro run` in the pod: these nodes and no others, with the parameters of this run."""
        words = ["--runner=SequentialRunner", f"--nodes={','.join(group.nodes)}"]
        if self._run_params.get("env"):
            words.insert(0, f"--env={self._run_params['env']}")
        if self._conf_source:
            words.append(f"--conf-source={self._conf_source}")
        if names := self._run_params.get("pipeline_names"):
            words.append(f"--pipelines={','.join(sorted(names))}")
        if versions := self._run_params.get("load_versions"):
            words.append("--load-versions=" + ",".join(f"{name}:{at}" for name, at in sorted(versions.items())))
        if params := self._run_params.get("runtime_params"):
            words.append(f"--params={as_option(params)}")
        return tuple(words)


class _Launch:
    """One run: which jobs are on the cluster, and which nodes are done."""

    def __init__(
        self,
        runner: KubernetesRunner,
        cluster: Cluster,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None,
        run_id: str | None,
    ) -> None:
        self._runner = runner
        self._config = runner.config
        self._cluster = cluster
        self._pipeline = pipeline
        self._catalog = catalog
        self._hooks = hook_manager
        self._run_id = run_id
        self._mlflow = runner.mlflow
        self._groups = groups(pipeline)
        self._done: set[Node] = set()
        self._loads = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        self._handles: dict[str, Handle] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._ended: SimpleQueue[tuple[str, Outcome | Exception | None]] = SimpleQueue()
        self._left = threading.Event()  # set: threads return, jobs go on

    def run(self) -> None:
        """Returns when all nodes are done. Raises JobFailed, or the error of a node of the launcher, once what runs
        beside it has ended too.
        """
        order = TopologicalSorter({name: sorted(group.after) for name, group in self._groups.items()})
        order.prepare()
        waiting: deque[str] = deque()
        here: deque[str] = deque()
        faults: list[str] = []
        error: Exception | None = None
        while order.is_active():
            for name in order.get_ready():
                (waiting if self._groups[name].in_pod else here).append(name)
            while waiting and len(self._threads) < self._config.side_by_side and not (faults or error):
                self._start(waiting.popleft())
            if here and not (faults or error):
                name = here.popleft()
                error = self._run_here(self._groups[name])
                if error is None:
                    order.done(name)
            elif self._threads:
                name, outcome = self._ended.get()
                self._threads.pop(name).join()
                fault = self._judge(self._groups[name], outcome)
                if self._mlflow is not None:
                    self._mlflow.ended(name, "FINISHED" if fault is None else "FAILED")
                if fault is None:
                    order.done(name)
                else:
                    faults.append(fault)
                    _log.error("%s", fault, extra=_PLAIN)
            else:
                break
        if error is not None:
            self._runner._suggest_resume_scenario(self._pipeline, self._done, self._catalog)
            raise error
        if faults:
            raise JobFailed("\n".join([*faults, self._how_to_go_on()]))

    def leave(self, signal: BaseException) -> NoReturn:
        """Ends the launcher, with or without its jobs. Raises Detached, Cancelled or Stopped."""
        if isinstance(signal, stopping.Stopped):
            detach = self._config.on_sigterm == "detach"
        else:
            detach = bool(self._threads) and self._asked_to_detach()
        self._left.set()
        for thread in self._threads.values():
            thread.join()
        jobs = {name: handle for name, handle in self._handles.items() if name in self._threads}
        named = ", ".join(handle.name for handle in jobs.values())
        if detach:
            if self._mlflow is not None:
                self._mlflow.leave()
            if named:
                click.echo(f"Detached. {named}: still there; the same command attaches again.", err=True)
            raise signal if isinstance(signal, stopping.Stopped) else Detached from None
        self._cancel(list(jobs.values()))
        raise signal if isinstance(signal, stopping.Stopped) else Cancelled from None

    def _cancel(self, handles: Sequence[Handle]) -> None:
        """All at once: each of them may take its time to write a checkpoint."""
        faults: dict[str, Exception] = {}

        def delete(handle: Handle) -> None:
            try:
                self._cluster.delete(handle)
            except Exception as error:  # told below
                faults[handle.name] = error

        threads = [threading.Thread(target=delete, args=(handle,), daemon=True) for handle in handles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if done := [handle.name for handle in handles if handle.name not in faults]:
            click.echo(
                f"Cancelled {', '.join(done)}. What was finished before is kept; the same command goes on from it.",
                err=True,
            )
        for name, error in faults.items():
            click.echo(
                f"{name} may still be there: {error}\nTo cancel it: python -m finemem_pipeline.cluster cancel {name}",
                err=True,
            )

    def _asked_to_detach(self) -> bool:
        """The answer of the person at the terminal; a second Ctrl-C means cancel."""
        if not sys.stdin.isatty():
            return False
        try:
            answer = click.prompt(
                f"\n{', '.join(sorted(self._threads))}: leave the jobs running, or cancel them?",
                type=click.Choice(["detach", "cancel"]),
                default=self._config.on_interrupt,
                err=True,
            )
        except (KeyboardInterrupt, click.Abort):
            return False
        return bool(answer == "detach")

    def _run_here(self, group: Group) -> Exception | None:
        """The error of the node, if it has failed."""
        [node] = self._pipeline.only_nodes(*group.nodes).nodes
        try:
            Task(node, self._catalog, self._runner._is_async, self._hooks, self._run_id).execute()
        except Exception as error:
            return error
        self._finished(node)
        return None

    def _finished(self, node: Node) -> None:
        self._done.add(node)
        _log.info("Completed node: %s (%d of %d)", node.name, len(self._done), len(self._pipeline.nodes))
        self._runner._release_datasets(node, self._catalog, self._loads, self._pipeline)

    def _start(self, name: str) -> None:
        """Submits the job of a group, or attaches to it, and watches it in a thread."""
        env = self._mlflow.address(name) if self._mlflow is not None else {}
        spec = self._runner._spec(self._groups[name], self._pipeline, self._catalog, env)
        thread = threading.Thread(target=self._attend, args=(name, spec), name=f"job-{name}", daemon=True)
        self._threads[name] = thread
        thread.start()

    def _attend(self, name: str, spec: JobSpec) -> None:
        try:
            self._ended.put((name, self._watch(name, spec)))
        except Exception as error:  # told in the main thread
            self._ended.put((name, error))

    def _watch(self, name: str, spec: JobSpec) -> Outcome | None:
        """How the job ended; None if the launcher leaves before."""
        handle, outcome = self._see_through(name, spec)
        while outcome is not None and outcome.succeeded and not handle.created and not self._made_by(name, outcome):
            _log.info("[%s] %s is over, and what it made is not there any more", name, handle.name, extra=_PLAIN)
            spec = replace(spec, identity=digest(spec.identity, outcome.uid))  # the same for every launcher
            handle, outcome = self._see_through(name, spec)
        return outcome

    def _see_through(self, name: str, spec: JobSpec) -> tuple[Handle, Outcome | None]:
        manifests = render(spec, self._config.backend)
        handle = self._handles[name] = self._cluster.submit(manifests)
        _log.info("[%s] %s %s", name, "submitted" if handle.created else "found", handle.name, extra=_PLAIN)
        tags = {"k8s.job": handle.name, "k8s.namespace": handle.namespace, "k8s.image": spec.image}
        elsewhere = handle.launch_env.get(RUN_ID)
        if elsewhere not in (None, spec.launch_env.get(RUN_ID)):
            tags["k8s.run"] = elsewhere  # that the pods log into: of the launcher that made the job
        self._record(name, tags, {f"manifests/{handle.name}.yml": as_yaml(manifests)})
        if handle.outcome is not None:
            return handle, handle.outcome
        logs = threading.Thread(target=self._forward, args=(name, handle), name=f"logs-{name}", daemon=True)
        logs.start()
        outcome = self._cluster.wait(handle, lambda notice: self._tell(name, notice), self._left)
        logs.join(_LAST_LINES)
        if outcome is not None:
            self._record(name, {"k8s.image": outcome.image, "k8s.outcome": outcome.status})
        return handle, outcome

    def _record(self, name: str, tags: Mapping[str, str], texts: Mapping[str, str] | None = None) -> None:
        if self._mlflow is not None:
            self._mlflow.record(name, tags, texts or {})

    def _made_by(self, name: str, outcome: Outcome) -> bool:
        """Whether what the group writes was written while that job ran, and not by another one since."""
        if outcome.started is None or outcome.finished is None:
            return False
        begin, end = datetime.fromisoformat(outcome.started), datetime.fromisoformat(outcome.finished)
        part = self._pipeline.only_nodes(*self._groups[name].nodes)
        return all(at and begin - _CLOCKS <= at <= end + _CLOCKS for at in written(part, self._catalog))

    def _tell(self, name: str, notice: Notice) -> None:
        level = logging.WARNING if notice.kind in ("stuck", "warning", "preempted", "connection") else logging.INFO
        _log.log(level, "[%s] %s: %s", name, notice.kind, notice.text, extra=_PLAIN)

    def _forward(self, name: str, handle: Handle) -> None:
        """Log lines of the pods, as they come. Without them the job is none the worse."""
        ranks = None if self._config.all_ranks else (0,)
        try:
            for rank, line in self._cluster.logs(handle, follow=True, ranks=ranks, leave=self._left):
                _log.info("[%s/%d] %s", name, rank, line, extra=_PLAIN)
        except ClusterError as error:
            _log.warning("[%s] its logs cannot be read: %s", name, error, extra=_PLAIN)

    def _judge(self, group: Group, outcome: Outcome | Exception | None) -> str | None:
        """What went wrong with the group; None if nothing did, and then its nodes are done."""
        if isinstance(outcome, FinememError):
            return f"Group {group.name}: {outcome}"
        if isinstance(outcome, Exception):
            _log.error("[%s]", group.name, exc_info=outcome, extra=_PLAIN)
            return f"Group {group.name}: {type(outcome).__name__}: {outcome}"
        assert outcome is not None, "nobody has left"
        if not outcome.succeeded:
            guilty = next((pod for pod in outcome.pods if pod.pod == outcome.guilty), None)
            where = f" Rank {guilty.rank} ({guilty.pod}) ended with {_end(guilty)}." if guilty is not None else ""
            tail = "".join(f"\n    {line}" for line in outcome.log_tail)
            last = f" Its last lines:{tail}" if tail else ""
            return f"Group {group.name} ({outcome.name}) {outcome.status}: {outcome.message}{where}{last}"
        nodes = list(self._pipeline.only_nodes(*group.nodes).nodes)
        try:
            absent = self._absent(group)
        except FinememError as fault:
            return f"Group {group.name} ({outcome.name}) succeeded, and what it made cannot be looked at: {fault}"
        if absent:
            return (
                f"Group {group.name} ({outcome.name}) succeeded, and {', '.join(absent)} cannot be found from here. "
                "Launcher and pods have to see the same storage: look at the base path of globals.yml and at volume in "
                "runner.yml."
            )
        for node in nodes:
            self._finished(node)
        return None

    def _absent(self, group: Group) -> list[str]:
        """Outputs of the group that are not where the launcher looks for them."""
        part = self._pipeline.only_nodes(*group.nodes)
        return sorted(
            name for name in part.all_outputs() if name in self._catalog and not is_there(self._catalog, name)
        )

    def _how_to_go_on(self) -> str:
        left = [node for node in self._pipeline.nodes if node not in self._done]
        start = _find_nodes_to_resume_from(self._pipeline, left, self._catalog)
        return (
            f"{len(left)} of {len(self._pipeline.nodes)} nodes have not run: {', '.join(node.name for node in left)}. "
            f"Give the same command again, or go on from there with --from-nodes={','.join(sorted(start))}"
        )


SQLITE = "sqlite:///"
DATA = "FINEMEM_DATA"
"""Environment variable that globals.yml reads for the place of all data."""
_PLAIN = {"markup": False}  # a console in colours would take [group] for a colour
RUN_ID = "MLFLOW_RUN_ID"
_CLOCKS = timedelta(seconds=60)  # by which the clocks of a cluster and of a store may differ
_LAST_LINES = 10.0  # seconds that log lines may come after the end of a job


def _end(pod: PodEnd) -> str:
    return f"exit code {pod.exit_code}, {pod.reason}" if pod.exit_code is not None else pod.reason


def as_yaml(manifests: Sequence[Manifest]) -> str:
    """As one file for kubectl."""
    return str(yaml.safe_dump_all(manifests, sort_keys=False, allow_unicode=True))


def as_option(params: Mapping[str, Any]) -> str:
    """The value of a --params that is read back as these parameters. Raises FinememError if none is."""
    option = ",".join(f"{key}={_word(value)}" for key, value in _leaves(params))
    with click.Context(click.Command("run")) as context:
        try:
            back = _split_params(context, click.Option(["--params"]), option)
        except (click.UsageError, ValueError):
            back = None
    if back != plain(params):
        raise FinememError(
            f"--params: {option!r} cannot be handed on to a pod. Put the values into conf/<env>/parameters.yml."
        )
    return option


def _leaves(params: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", value


def _word(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
