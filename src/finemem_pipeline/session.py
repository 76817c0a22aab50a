"""Kedro's session, and what frames a run.

Errors meant for the user come without a traceback, SIGTERM ends a run with RESUME_EXIT_CODE, relative paths in
parameters are relative to the project, whatever folder the command was typed in; data is kept where globals.yml says;
what is missing is told before the first node, and the result after the last.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines, settings
from kedro.framework.session import KedroSession
from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import AbstractRunner

from finemem_pipeline import launch, stopping, store
from finemem_pipeline.config import ConfigError, Parameters, parse_parameters
from finemem_pipeline.errors import FinememError, unknown
from finemem_pipeline.grouping import PARAMETERS, parameters_digest
from finemem_pipeline.hooks import CLUSTERED, LIST_OPTIONS
from finemem_pipeline.runner_config import Rendered, read_runner
from finemem_pipeline.training import together
from finemem_pipeline.training.together import Team

if TYPE_CHECKING:
    from finemem_pipeline.runner import KubernetesRunner


class FinememSession(KedroSession):
    """Changes one method: `run`."""

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        here = Path.cwd()
        with contextlib.chdir(self._project_path), stopping.orderly(), together.joined() as team:
            if not team.first:
                self._follow(team)
                return {}
            try:
                launcher = self._launcher(kwargs.get("runner"), kwargs.get("pipeline_names") or [])
                kwargs = self._prepared(kwargs)
                _some_nodes_are_left(kwargs)
                with store.kept_in(self._data(), self._project_path):
                    if launcher is None:
                        return super().run(*args, **kwargs)
                    with launcher.begun(self._hook_manager, self._data(), self._conf_source_for_pods()):
                        return super().run(*args, **{**kwargs, "runner": launcher})
            except Rendered:
                return {}
            except _Several as needed:
                raise SystemExit(launch.again(needed.processes, here)) from None
            except FinememError as error:
                if click.get_current_context(silent=True) is None:
                    raise
                raise click.ClickException(str(error)) from error
            except stopping.Stopped:
                click.echo("Stopped by SIGTERM. The same command goes on from what is finished.", err=True)
                raise
            except Exception as error:
                fault = _storage_fault(error)
                if fault is None or click.get_current_context(silent=True) is None:
                    raise
                raise click.ClickException(fault) from error

    def _follow(self, team: Team) -> None:
        """Works for the first of the processes that a launcher has started. Ends as that one does."""
        code = team.follow()
        if code:
            raise SystemExit(code)

    def _prepared(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options, and the pipelines, that the parameters ask for."""
        parameters = parse_parameters(self.load_context().config_loader["parameters"])
        if parameters.evaluation.dry_run:
            options = _estimating(options)
        if COMPARE in (options.get("pipeline_names") or ()):
            _give_children(options["pipeline_names"], parameters)
        return options

    def _launcher(self, chosen: AbstractRunner | None, names: list[str]) -> KubernetesRunner | None:
        """The runner that conf/<env>/runner.yml asks for, unless --runner names another one or there is nothing in
        these pipelines that runs in a pod.

        What --params says under `runner` goes before the file, and is no parameter of the pipeline.
        """
        for name in names:
            if name not in pipelines:
                raise FinememError(unknown("--pipelines", name, pipelines, "pipeline"))
        asked = (self.store.get("runtime_params") or {}).pop("runner", {})
        if not isinstance(asked, Mapping):
            raise FinememError(f"--params=runner={asked}: name a key of runner.yml: --params=runner.<key>=<value>.")
        command = click.get_current_context(silent=True)
        named = chosen is not None if command is None else command.params.get("runner") is not None
        configured = read_runner(self._get_config_loader())
        ours = hasattr(chosen, "begun")
        if not ours and (named or configured is None):
            if asked:
                raise FinememError("--params=runner.…: this run has no runner.yml to change. kedro run --env=k8s has.")
            return None
        if not ours and not any(node.namespace for name in names or ["__default__"] for node in pipelines[name].nodes):
            return None
        from finemem_pipeline.runner import KubernetesRunner

        launcher = chosen if isinstance(chosen, KubernetesRunner) else KubernetesRunner()
        launcher.options = _over(_over(configured or {}, launcher.options), asked)
        return launcher

    def _data(self) -> str:
        """The base path of all data, as globals.yml has it."""
        try:
            found = self._get_config_loader()["globals"]
        except MissingConfigException:
            found = {}
        return str(found.get("data", "data"))

    def _conf_source_for_pods(self) -> str | None:
        """What --conf-source says, as seen from the project; None where it says nothing."""
        source = Path(self._conf_source)
        if source == self._project_path / settings.CONF_SOURCE:
            return None
        return str(source.relative_to(self._project_path) if source.is_relative_to(self._project_path) else source)


COMPARE = "compare"


def _give_children(names: list[str], parameters: Parameters) -> None:
    """Puts the pipeline that these parameters ask for into the registry, for this run."""
    from finemem_pipeline.pipelines import compare

    for variant in parameters.compare.variants:
        try:
            parameters.need_for_training(variant)
        except ValueError as error:
            raise ConfigError(f"compare.variants: {error}") from error
    pipelines.set_requested(names)  # else Kedro does it, and asks for the registry anew
    pipelines[COMPARE] = compare.create_pipeline(parameters.compare.children)


class _Several(Exception):
    """What is to be run needs more processes than this one."""

    def __init__(self, processes: int) -> None:
        super().__init__(f"{processes} processes")
        self.processes = processes


def _over(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the changes, key by key where both have keys below."""
    below = {
        key: _over(settings[key], value)
        for key, value in changes.items()
        if isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
    }
    return {**settings, **changes, **below}


def _some_nodes_are_left(options: Mapping[str, Any]) -> None:
    """Raises FinememError where --nodes, --tags and their like name what these pipelines do not have."""
    whole = sum((pipelines[name] for name in options.get("pipeline_names") or ["__default__"]), Pipeline([]))
    asked = {option: options.get(name) for option, name in LIST_OPTIONS.items() if option != "pipelines"}
    try:
        whole.filter(
            **{"node_namespaces" if option == "namespaces" else LIST_OPTIONS[option]: asked[option] for option in asked}
        )
    except ValueError as fault:
        raise FinememError(f"{' '.join(f'--{option}' for option in asked if asked[option])}: {fault}") from fault


def _estimating(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a run that ends where something would be played. Raises FinememError where more was asked for."""
    names = options.get("pipeline_names")
    if names != ["evaluate"]:
        raise FinememError(
            "evaluation.dry_run estimates an evaluation and runs nothing else, found "
            f"{' and '.join(names) if names else 'all pipelines'}: kedro run --pipelines=evaluate "
            "--params=evaluation.dry_run=true"
        )
    return {**options, "to_nodes": ["estimate_cost"]}


def _storage_fault(error: BaseException | None) -> str | None:
    """What to tell the user where a disk is full or may not be written; None for any other error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _STORAGE:
            return f"{error.filename or 'a file'}: {error.strerror}. What was finished before is kept; run again then."
        if "No space left on device" in str(error):  # libraries that write by themselves raise plain exceptions
            return "No space left on device. What was finished before is kept: free some space and run again."
        error = error.__cause__ or error.__context__
    return None


_STORAGE = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT}


class ResultHook:
    """Ends an evaluation or a study with its tables and the place of its report, below the log lines."""

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        if {"evaluation_table", "report_path"} <= pipeline.all_outputs():
            from finemem_pipeline.reporting.table import print_table

            print_table(catalog.load("evaluation_table"))
            click.echo(f"Report: {store.told(Path(catalog.load('report_path')))}")
        if {"comparison", "comparison_path"} <= pipeline.all_outputs():
            from finemem_pipeline.reporting.table import print_table

            print_table(catalog.load("comparison")["table"])
            click.echo(f"Comparison: {store.told(Path(catalog.load('comparison_path')))}")
        if "table_paths" in pipeline.all_outputs():
            paths = catalog.load("table_paths")
            page, csv = (store.told(Path(paths[name])) for name in ("page", "csv"))
            click.echo(f"Table of record: {page} and {csv}")
        if {"matrix_table", "matrix_paths"} <= pipeline.all_outputs():
            from finemem_pipeline.reporting.grid import print_grids
            from finemem_pipeline.reporting.matrix import matrix_grids, verdict

            matrix, paths = catalog.load("matrix_table"), catalog.load("matrix_paths")
            print_grids(matrix_grids(matrix))
            page, csv = (store.told(Path(paths[name])) for name in ("page", "csv"))
            click.echo(f"{verdict(matrix)}.\nMatrix: {page} and {csv}")
        if {node.name for node in pipeline.nodes} == {"held_out_streams", "estimate_cost"}:
            from finemem_pipeline.reporting.estimate import estimate_lines

            click.echo("\n".join(estimate_lines(catalog.load("evaluation_estimate"))))
        if {"credit_summary", "credit_report_path"} <= pipeline.all_outputs():
            from finemem_pipeline.reporting.credit import credit_grids
            from finemem_pipeline.reporting.grid import print_grids

            print_grids(credit_grids(catalog.load("credit_summary")))
            click.echo(f"Report: {store.told(Path(catalog.load('credit_report_path')))}")


class ParametersHook:
    """Stops a run whose parameters, files, models or servers cannot be used, before its first node."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        self.parameters = parse_parameters(context.config_loader["parameters"])

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        from finemem_pipeline.preflight import EVALUATES, TRAINS, check, spared

        launched = run_params.get("runner") == CLUSTERED  # then a namespace runs in a pod, which looks for itself
        here = [node for node in pipeline.nodes if not (launched and node.namespace)]
        names = {node.short_name for node in here}
        store.check()
        check(self.parameters, names)
        others = Pipeline([node for node in pipeline.nodes if node.name not in EVALUATES])
        if os.environ.get(PARAMETERS, "") not in ("", parameters_digest(pipeline, catalog)):
            raise FinememError(
                "The launcher has other parameters than this pod: conf/ in the image is not the conf/ where the "
                "command was given. Build the image anew, or launch from the same checkout."
            )
        _inputs_are_there(pipeline, catalog, spared(self.parameters) - others.inputs())
        processes = self.parameters.training.processes
        runs_here = run_params["runner"] == "None" or "SequentialRunner" in run_params["runner"]
        if processes > 1 and together.team().size == 1 and runs_here and TRAINS & names:
            if click.get_current_context(silent=True) is None:
                raise FinememError(
                    f"training.processes: found {processes}, but there is no command line to give {processes} times. "
                    "Run kedro run in a terminal, or take 1."
                )
            raise _Several(processes)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        from finemem_pipeline.preflight import fetch_models

        fetch_models(self.parameters, {node.short_name})


def _inputs_are_there(pipeline: Pipeline, catalog: CatalogProtocol, needless: set[str]) -> None:
    """Raises FinememError naming what an earlier pipeline should have written, and that pipeline."""
    wanted = sorted(name for name in pipeline.inputs() - needless if not is_parameter(name))
    missing = [name for name in wanted if name in catalog and not catalog.exists(name)]
    if missing:
        writers = [
            name for name, each in pipelines.items() if name != "__default__" and each.all_outputs() & set(missing)
        ]
        raise FinememError(
            f"{', '.join(missing)}: not there yet. Run what writes it first: kedro run --pipelines={','.join(writers)}"
        )
