"""What `kubectl kustomize` makes of every overlay, rendered once."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
OVERLAYS = sorted(folder.name for folder in (PROJECT / "k8s" / "overlays").iterdir())


@cache
def build(folder: str) -> tuple[dict[str, Any], ...]:
    """Every object of a folder below k8s, as `kubectl apply --kustomize` would send it."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, and only it renders kustomizations")
    done = subprocess.run(
        ["kubectl", "kustomize", str(PROJECT / "k8s" / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a warning, of something deprecated say
    return tuple(yaml.safe_load_all(done.stdout))


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(overlay: str) -> tuple[dict[str, Any], ...]:
    return build(f"overlays/{overlay}")


@pytest.fixture(scope="session")
def sites() -> dict[str, tuple[dict[str, Any], ...]]:
    return {name: build(f"overlays/{name}") for name in OVERLAYS}
