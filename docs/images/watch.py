"""Draws watch.svg: the table of a training run while it goes on, from the metrics of a real one.

python docs/images/watch.py data/06_models/<run>/metrics.jsonl
"""

from __future__ import annotations

import argparse
import io
import json
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from finemem_pipeline.reporting.live import Board

WIDTH = 132  # columns


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the table of a training run.")
    parser.add_argument("metrics", type=Path, help="data/06_models/<run>/metrics.jsonl")
    rows = [json.loads(line) for line in parser.parse_args().metrics.read_text(encoding="utf-8").splitlines()]
    board = Board("training with fine_mem", len(rows) + 1)
    for row in rows:
        board.hear(row.pop("step"), {name: value for name, value in row.items() if value is not None})
    board.at(len(rows), "playing chunk 2 of 3")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(board.picture())
    no_fonts_from_elsewhere = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S)
    console.save_svg(
        str(Path(__file__).with_suffix(".svg")),
        title="kedro run",
        code_format=no_fonts_from_elsewhere,
        unique_id="watch",
    )


if __name__ == "__main__":
    main()
