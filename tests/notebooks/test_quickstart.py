from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.fixture(scope="module")
def executed():
    notebook = nbformat.read(NOTEBOOKS / "quickstart.ipynb", as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    return NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources).execute()


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_the_quickstart_runs_from_top_to_bottom_and_shows_something(executed):
    shown = [output for output in outputs(executed) if output.output_type in ("execute_result", "display_data")]
    assert not [output for output in outputs(executed) if output.output_type in ("error", "stream")]
    assert sum("image/png" in output.data for output in shown) == 1
    assert sum("text/html" in output.data for output in shown) == 6


def test_the_quickstart_is_kept_without_outputs():
    kept = nbformat.read(NOTEBOOKS / "quickstart.ipynb", as_version=4)
    assert outputs(kept) == []
    assert all(cell.execution_count is None for cell in kept.cells if cell.cell_type == "code")
