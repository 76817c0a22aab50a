"""Every configuration file that the project ships can be used."""

from __future__ import annotations

import logging.config
from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog
from pre_commit.clientlib import load_config

from finemem_pipeline.config import parse_parameters
from finemem_pipeline.hooks import read_config
from finemem_pipeline.pipeline_registry import register_pipelines
from finemem_pipeline.settings import CONFIG_LOADER_ARGS

PROJECT = Path(__file__).resolve().parents[1]
CONF = PROJECT / "conf"
ENVIRONMENTS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "local")


def loader(environment: str) -> OmegaConfigLoader:
    return OmegaConfigLoader(conf_source=str(CONF), env=environment, **CONFIG_LOADER_ARGS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_parameters_of_every_environment_are_sound(environment):
    parameters = parse_parameters(loader(environment)["parameters"])
    assert parameters.training.reward in parameters.rewards.root
    assert parameters.training.recipe in parameters.recipes.root


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_catalog_of_every_environment_resolves_and_keeps_to_the_place_of_data(environment):
    found, place = loader(environment)["catalog"], loader(environment)["globals"]["data"]
    catalog = DataCatalog.from_config(found)
    assert all(catalog.get(name) is not None for name in found)
    assert all(entry["filepath"].startswith(f"{place}/") for entry in found.values())


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_mlflow_is_configured_in_every_environment(environment):
    assert read_config(loader(environment)).tracking_uri.startswith("sqlite:///")


def test_the_catalog_holds_only_what_a_pipeline_reads_or_writes():
    used = set().union(*(pipeline.datasets() for pipeline in register_pipelines().values()))
    used |= {f"{{child}}__{name.partition('__')[2]}" for name in used if "__" in name}
    assert set(loader("base")["catalog"]) <= used


@pytest.mark.parametrize("file", sorted(CONF.rglob("logging.yml")), ids=lambda file: str(file.relative_to(CONF)))
def test_logging_files_name_handlers_and_formatters_that_they_define(file):
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    used = [*config["root"]["handlers"], *(h for each in config["loggers"].values() for h in each.get("handlers", []))]
    assert set(used) <= set(config["handlers"])
    formatters = {handler["formatter"] for handler in config["handlers"].values() if "formatter" in handler}
    assert formatters <= set(config.get("formatters", {}))
    logging.config.DictConfigurator(config)  # parses; nothing is set up yet


def test_the_pre_commit_hooks_are_local_and_well_formed():
    [repo] = load_config(str(PROJECT / ".pre-commit-config.yaml"))["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        if hook["language"] == "system":
            assert hook["entry"].startswith(".venv/bin/")
