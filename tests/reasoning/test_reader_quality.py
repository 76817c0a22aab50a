"""The aim of benchmarks/reader_quality.py: at least 0.6 with a perfect memory, at most 0.05 with an empty one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def quality(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("reader_quality", project / "benchmarks" / "reader_quality.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(quality: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, dict[str, list[str]]]:
    """The exit code, and the cells of each row under its source."""
    monkeypatch.setattr("sys.argv", ["reader_quality.py", *arguments])
    shown: list[str] = []
    code = quality.main(shown.append)
    return code, {line.split()[0]: line.split()[1:] for line in shown[-1].splitlines()}


def test_planted_streams_are_read_well(quality: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("FINEMEM_REALBENCH", raising=False)
    code, rows = table(quality, monkeypatch)
    assert (code, list(rows)) == (0, ["planted"])
    assert float(rows["planted"][2]) > 0.85
    assert float(rows["planted"][3]) == 0.0


def test_real_streams_are_read_well(quality: ModuleType, monkeypatch: pytest.MonkeyPatch, realbench: Path):
    code, rows = table(quality, monkeypatch, "--realbench", str(realbench), "squad", "clinc150")
    assert (code, list(rows)) == (0, ["planted", "squad", "clinc150"])
    assert float(rows["squad"][2]) > 0.75
    assert float(rows["clinc150"][2]) > 0.8


def test_a_source_that_misses_the_aim_fails_the_run(
    quality: ModuleType, monkeypatch: pytest.MonkeyPatch, realbench: Path
):
    code, rows = table(quality, monkeypatch, "--realbench", str(realbench), "csabstruct")
    assert (code, rows["csabstruct"][-1]) == (1, "missed")
