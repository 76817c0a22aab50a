"""Tables of texts: on a terminal, as Markdown, and for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from finemem_pipeline.reporting.table import NOTHING, markdown_rows

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Grid:
    """One table: the first column names the rows."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def print_grids(grids: Sequence[Grid], console: Console | None = None) -> None:
    """Prints the tables one below the other, as wide as the console is; cells wrap, none is cut off."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console()
    for grid in grids:
        table = Table(box=SIMPLE_HEAD, title=Text(grid.title), title_justify="left", title_style="bold", pad_edge=False)
        for place, heading in enumerate(grid.head):
            table.add_column(Text(heading), justify="right" if place else "left", overflow="fold")
        for row in grid.rows:
            table.add_row(*map(Text, row))
        console.print(table)
        if grid.note:
            console.print(grid.note, style="dim", highlight=False)


def text_grids(grids: Sequence[Grid], width: int = 160) -> str:
    """What `print_grids` prints, without colours."""
    from rich.console import Console

    page = StringIO()
    print_grids(grids, Console(file=page, width=width, color_system=None))
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"


def markdown_grids(grids: Sequence[Grid]) -> str:
    """The tables as Markdown, each below its title."""
    return "\n".join(f"**{grid.title}**\n\n{markdown_rows([grid.head, *grid.rows])}\n{grid.note}\n" for grid in grids)


def with_interval(cell: Mapping[str, Any] | None, digits: int = 3) -> str:
    """0.512 [0.402, 0.611], 0.512 where there is no interval, or a dash."""
    return _told(cell, f".{digits}f")


def signed_interval(cell: Mapping[str, Any] | None, digits: int = 3) -> str:
    """+0.120 [+0.030, +0.210]*, the star where 0 is excluded, or a dash."""
    told = _told(cell, f"+.{digits}f")
    apart = cell is not None and cell["low"] is not None and (cell["low"] > 0 or cell["high"] < 0)
    return f"{told}*" if apart else told


def _told(cell: Mapping[str, Any] | None, form: str) -> str:
    if cell is None or cell["mean"] is None:
        return NOTHING
    mean, low, high = (
        None if cell[key] is None else format(cell[key], form).replace("-", "−") for key in ("mean", "low", "high")
    )
    return f"{mean}" if low is None else f"{mean} [{low}, {high}]"
