"""A training run while it goes on: a table on a terminal, and without one a line now and then.

All it knows comes from `progress`: the metrics of one update after the other. docs/reference/metrics.md says what each
of them means, docs/how-to/watch-training.md what to look for.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from statistics import fmean
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from finemem_pipeline import progress
from finemem_pipeline.reporting.alarms import ALARMS, Episodes, Row, apart

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

log = logging.getLogger(__name__)

WINDOW = 5
"""So many updates are averaged."""
LINES_EVERY = 30.0
"""Seconds between two lines, where there is no terminal."""


class Board:
    """Shows the run while it is entered. `shown` is False for a process whose neighbour shows it."""

    def __init__(self, what: str, total: int, *, shown: bool = True, console: Console | None = None) -> None:
        self.what = what
        self.total = total
        self.rows: list[Row] = []
        self.done = 0
        self.now = ""
        self._alarms = Episodes()
        self._messages: dict[str, str] = {}
        self._shown = shown
        self._console = console
        self._live: Any = None
        self._said = -math.inf
        self._open = ExitStack()

    def at(self, done: int, now: str = "") -> None:
        """`done` of the updates are finished; `now` says what is happening."""
        self.done, self.now = done, now

    def hear(self, step: int, metrics: Row) -> None:
        """The metrics of one update; progress.report calls it."""
        _, metrics = apart(metrics)
        self.rows = [*self.rows, metrics][-WINDOW:]
        self.done = step
        for name in self._alarms.hear(step, metrics):
            self._messages[name] = ALARMS[name].message(metrics)
        if self._live is None and (step == self.total or time.monotonic() - self._said >= LINES_EVERY):
            self._said = time.monotonic()
            log.info("%s", line(self.what, step, self.total, self.rows))

    def __enter__(self) -> Self:
        if self._shown:
            self._open.callback(progress.subscribe(self.hear))
            if self._console is not None or sys.stdout.isatty():
                from rich.live import Live

                self._live = Live(get_renderable=self.picture, console=self._console, refresh_per_second=2)
                self._open.enter_context(self._live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def picture(self) -> RenderableType:
        """All that is known now."""
        from rich.columns import Columns
        from rich.console import Group
        from rich.text import Text

        tables = _tables(self.rows) if self.rows else ()
        alarms = [
            Text(f"{name}, since update {self._alarms.begun[name][-1]}: {self._messages[name]}", style="bold red")
            for name in ALARMS
            if name in self._alarms.ringing
        ]
        return Group(self._head(), Columns(tables, padding=(1, 3)), *alarms)

    def _head(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        head = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None, None, None):
            head.add_column(no_wrap=True, ratio=ratio)
        head.add_row(
            self.what,
            ProgressBar(total=self.total, completed=self.done),
            f"{self.done}/{self.total}",
            f"{_span(left(self.rows, self.done, self.total))} left",
            self.now,
        )
        return head


def left(rows: Sequence[Row], done: int, total: int) -> float | None:
    """Seconds until the end, if what is to come takes as long as these updates did; None where there is none."""
    taken = _mean(rows, "seconds/step")
    return None if taken is None else taken * (total - done)


def line(what: str, step: int, total: int, rows: Sequence[Row]) -> str:
    """The last update in words."""
    row = rows[-1]
    shares = [f"{name} {share:z.0%}" for name, share in _shares(row).items()]
    said = {kind: _number(row.get(f"operations/{kind}"), ".1f") for kind in KINDS}
    return ", ".join(
        [
            f"{what}: update {step} of {total}",
            f"score {_number(row.get('outcome'), '.2f')}",
            f"reward {_number(row.get('reward/total'), '.2f')} ({', '.join(shares) or 'no signal'})",
            f"dead groups {_dead(row)}",
            f"entropy {_number(row.get('entropy'), '.3f')}",
            f"KL {_number(row.get('kl'), '.4f')}",
            f"clipped {_number(row.get('clip_ratio'), '.1%')}",
            f"gradient {_number(row.get('grad_norm'), '.2f')}",
            f"memory {_number(row.get('memory/tokens'), '.0f')} tokens",
            "operations " + "/".join(f"{value} {kind.upper()}" for kind, value in said.items()),
            f"cache hits {_number(_hits(row), '.0%')}",
            f"{_number(row.get('tokens_per_second_generated'), '.0f')} tokens/s generated",
            f"{_number(row.get('tokens_per_second_learned'), '.0f')} learned",
            f"{_span(row.get('seconds/step'))} an update",
            f"{_span(left(rows, step, total))} left",
        ]
    )


KINDS = ("insert", "update", "delete", "skip")

LAST = f"last {WINDOW}"

_PHASES = {
    "generate": "s to generate",
    "read": "s to read",
    "retrieve": "s to retrieve",
    "backward": "s to learn",
    "measure": "s to measure",
    "step": "s an update",
}


def _tables(rows: Sequence[Row]) -> Iterable[Table]:
    """One of each part: the last update beside the mean of the last few."""
    now = rows[-1]

    def entry(what: str, of: Callable[[Row], float | None] | str, form: str) -> tuple[str, str, str]:
        look = of if callable(of) else lambda row: row.get(of)
        known = [value for value in map(look, rows) if value is not None]
        return what, _number(look(now), form), _number(fmean(known) if known else None, form)

    yield _table(
        ("rewards", "mean", "share", LAST),
        *(
            (name, _number(now.get(f"reward/{name}"), ".2f"), *entry("", f"share/{name}", ".0%")[1:])
            for name in _shares(now)
        ),
        ("total", _number(now.get("reward/total"), ".2f"), "", ""),
    )
    yield _table(
        ("signal", "now", LAST),
        entry("score", "outcome", ".2f"),
        ("dead groups", _dead(now), entry("", _dead_share, ".0%")[2]),
        entry("entropy", "entropy", ".3f"),
        entry("KL to the start", "kl", ".4f"),
        entry("KL of the update", "kl_update", ".5f"),
        entry("clipped", "clip_ratio", ".1%"),
        entry("gradient norm", "grad_norm", ".2f"),
    )
    yield _table(
        ("memory", "now", LAST),
        entry("tokens", "memory/tokens", ".0f"),
        entry("of the text", "memory/share_of_text", ".0%"),
        entry("copied", "memory/copied_share", ".0%"),
        *(entry(kind.upper(), f"operations/{kind}", ".2f") for kind in KINDS),
        entry("malformed", "operations/malformed_share", ".0%"),
    )
    yield _table(
        ("speed", "now", LAST),
        *(entry(name, f"seconds/{phase}", ".1f") for phase, name in _PHASES.items()),
        entry("tokens/s generated", "tokens_per_second_generated", ".0f"),
        entry("tokens/s learned", "tokens_per_second_learned", ".0f"),
        entry("cache hits", _hits, ".0%"),
    )


def _table(columns: Sequence[str], *rows: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _shares(row: Row) -> dict[str, float]:
    """Of the terms that move something, by their names."""
    found = {name.removeprefix("share/"): value for name, value in row.items() if name.startswith("share/")}
    return {name: share for name, share in found.items() if share}


def _dead_share(row: Row) -> float | None:
    return row.get("groups/dead_columns", 0.0) / row["groups/columns"] if row.get("groups/columns") else None


def _dead(row: Row) -> str:
    return f"{row['groups/dead_columns']:.0f}/{row['groups/columns']:.0f}" if "groups/columns" in row else "–"


def _hits(row: Row) -> float | None:
    """Of the questions that were asked, the share that needed no call."""
    return row.get("reader/cache_hits", 0.0) / row["reader/questions"] if row.get("reader/questions") else None


def _mean(rows: Sequence[Row], name: str) -> float | None:
    known = [row[name] for row in rows if name in row]
    return fmean(known) if known else None


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, f"z{form}")  # z: no minus before a zero


def _span(seconds: float | None) -> str:
    """Seconds as a clock shows them."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
