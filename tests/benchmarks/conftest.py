"""The generator of small benchmark files, and the files it writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from finemem_pipeline.benchmarks import faults


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """make_parquet.py, which stands beside this file and can be run by itself."""
    path = Path(__file__).with_name("make_parquet.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def nothing_was_told() -> None:
    """Every test hears the warnings of the files that several of them read."""
    faults._warn.cache_clear()
