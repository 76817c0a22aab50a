"""Variants side by side as one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finemem_pipeline.reporting.report import replace_text


def write_comparison(
    path: str | Path, comparison: Mapping[str, Any], run: Mapping[str, str], maps: Sequence[Mapping[str, Any]]
) -> Path:
    """Writes the page of a comparison, replacing an earlier one in a single move."""
    import json

    return replace_text(Path(path), json.dumps(comparison))
