"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A machine that is busy with other things is no reason to fail.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def realbench() -> Path:
    """The folder of real streams, or the one FINEMEM_REALBENCH names; without it the test is skipped."""
    folder = Path(os.environ.get("FINEMEM_REALBENCH", PROJECT.parent / "shared" / "realbench"))
    if not (folder / "train.jsonl.gz").is_file():
        pytest.skip(f"no real streams at {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of training.random_model."""
    from finemem_pipeline.training.random_model import build

    folder = tmp_path_factory.mktemp("tiny-model")
    build(folder)
    return folder
