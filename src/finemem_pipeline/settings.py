"""Kedro's project settings."""

from finemem_pipeline.hooks import MlflowHook
from finemem_pipeline.session import FinememSession, ParametersHook

SESSION_CLASS = FinememSession
HOOKS = (MlflowHook(), ParametersHook())  # the last one is called first: nothing is recorded of a run that cannot start
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow",)  # two hooks would open two runs
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*"]},
    "merge_strategy": {"parameters": "soft", "catalog": "soft"},
}
