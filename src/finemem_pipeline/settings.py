"""Kedro's project settings."""

import os

from omegaconf.resolvers import oc

from finemem_pipeline.hooks import MlflowHook
from finemem_pipeline.session import FinememSession, ParametersHook, ResultHook

# Nobody is told of a run, and threads that wait do not spin: on a busy machine that brings training to a crawl.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SESSION_CLASS = FinememSession
# The last one is called first: nothing is recorded of a run that cannot start.
HOOKS = (MlflowHook(), ResultHook(), ParametersHook())
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow",)  # two hooks would open two runs
CONFIG_LOADER_ARGS = {
    "custom_resolvers": {"oc.env": oc.env},  # for globals.yml; Kedro has it for credentials alone
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*"], "runner": ["runner*"]},
    "merge_strategy": {"parameters": "soft", "catalog": "soft"},
}
