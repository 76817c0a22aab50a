"""The result of an evaluation as a table: on a terminal, as plain text, and as Markdown.

What is read here is the document that `evaluation.evaluate_table` writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Evaluation = Mapping[str, Any]

NOTHING = "–"
_SOURCE_WIDTH = 15  # of a column of the table by source, its margin included


def print_table(evaluation: Evaluation, console: Console | None = None) -> None:
    """Prints the overall table, then scores by benchmark, source and task where there are several, as many columns at a
    time as the console holds.
    """
    from rich.console import Console

    console = console or Console()
    console.print(_overall(evaluation))
    scopes = [(scope, names) for scope in ("benchmark", "source", "task") if len(names := evaluation[f"{scope}s"]) > 1]
    manager_width = max(len(name) for name in evaluation["managers"]) + 2
    at_once = max(1, (console.width - manager_width) // _SOURCE_WIDTH)
    for scope, names in scopes:
        for start in range(0, len(names), at_once):
            console.print(_scores(evaluation, scope, names[start : start + at_once]))
    notes = ["n: questions scored (+ unscored)."]
    if scopes:
        notes.append("Below each score: n; memory tokens.")
    if _any_star(evaluation):
        notes.append("*: the interval excludes 0.")
    console.print("\n".join(notes), style="dim", highlight=False)


def text_table(evaluation: Evaluation, width: int = 80) -> str:
    """What `print_table` prints, without colours."""
    from rich.console import Console

    page = StringIO()
    print_table(evaluation, Console(file=page, width=width, color_system=None))
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"


def markdown_table(evaluation: Evaluation) -> str:
    """The overall table and the scores by source as Markdown."""
    reference = evaluation["references"][0]
    level = percent(evaluation["bootstrap"]["level"])
    overall = [
        [
            "manager",
            "score",
            "question mean",
            "memory tokens",
            "n",
            "unscored",
            "sources",
            f"− {reference} [{level} interval]",
            "detectable",
        ]
    ]
    for row in evaluation["rows"]:
        mean = row["mean"]
        compared = difference(evaluation, row["manager"])
        overall.append(
            [
                row["manager"],
                score(mean["score"]),
                score(mean["question_mean"]),
                tokens(mean["memory_tokens"]),
                str(mean["questions"]),
                str(mean["unscored"]),
                f"{mean['sources']}/{mean['sources'] + mean['unscored_sources']}",
                interval(compared) if compared else NOTHING,
                score(compared["detectable"]) if compared else NOTHING,
            ]
        )
    by_source = [["manager", *(f"{source} (n + unscored; tokens)" for source in evaluation["sources"])]]
    for row in evaluation["rows"]:
        cells = (row["sources"].get(source) for source in evaluation["sources"])
        by_source.append([row["manager"], *(f"{score(c['score'])} ({below(c)})" if c else NOTHING for c in cells)])
    return markdown_rows(overall) + "\n" + markdown_rows(by_source)


def headline(evaluation: Evaluation) -> str:
    """The first manager's result in a sentence, with its difference to the reference."""
    row = evaluation["rows"][0]
    mean = row["mean"]
    found = f"{row['manager']} scores {score(mean['score'])} with {tokens(mean['memory_tokens'])} memory tokens"
    if not (compared := difference(evaluation, row["manager"])):
        return f"{found}."
    if compared["mean"] is None:
        return f"{found}; no question is scored for both it and {compared['reference']}."
    verdict = "the interval excludes 0" if compared["excludes_zero"] else "the interval includes 0"
    return (
        f"{found}: {signed(compared['mean'])} against {compared['reference']}, {percent(compared['level'])} interval "
        f"[{signed(compared['low'])}, {signed(compared['high'])}] over {compared['n_questions']} questions of "
        f"{compared['n_streams']} streams; {verdict}."
    )


def difference(
    evaluation: Evaluation, manager: str, reference: str | None = None, scope: str = "mean", name: str = ""
) -> Mapping[str, Any] | None:
    """The document's entry for `manager` against `reference` (its first, if none is given), or None."""
    wanted = (manager, reference or evaluation["references"][0], scope, name)
    return next(
        (d for d in evaluation["differences"] if (d["manager"], d["reference"], d["scope"], d["name"]) == wanted), None
    )


def score(value: float | None) -> str:
    """0.512, or a dash for None."""
    return NOTHING if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """+0.120, −0.120, or a dash for None."""
    return NOTHING if value is None else f"{value:+.3f}".replace("-", "−")


def tokens(value: float | None) -> str:
    """118, 12.4k, or a dash for None."""
    if value is None:
        return NOTHING
    return f"{value:.0f}" if value < 9_999.5 else f"{value / 1000:.1f}k"


def percent(value: float | None) -> str:
    """95 %, 2.5 %, or a dash for None."""
    return NOTHING if value is None else f"{100 * value:.3g} %"


def interval(compared: Mapping[str, Any]) -> str:
    """+0.120 [+0.030, +0.210]*, the star where 0 is excluded."""
    if compared["mean"] is None:
        return NOTHING
    star = "*" if compared["excludes_zero"] else ""
    return f"{signed(compared['mean'])} [{signed(compared['low'])}, {signed(compared['high'])}]{star}"


def counted(cell: Mapping[str, Any]) -> str:
    """40+2: questions scored, and unscored if there are any."""
    return f"{cell['questions']}+{cell['unscored']}" if cell["unscored"] else str(cell["questions"])


def below(cell: Mapping[str, Any]) -> str:
    """What a cell's mean rests on: "40+2; 118", n, unscored if any, memory tokens."""
    return f"{counted(cell)}; {tokens(cell['memory_tokens'])}"


def _any_star(evaluation: Evaluation) -> bool:
    reference = evaluation["references"][0]
    return any(
        d["excludes_zero"] for d in evaluation["differences"] if d["scope"] == "mean" and d["reference"] == reference
    )


def _overall(evaluation: Evaluation) -> Table:
    from rich.text import Text

    sources = evaluation["sources"]
    table = _empty(f"Source {sources[0]}" if len(sources) == 1 else "All sources")
    table.collapse_padding = True
    headings = ["score", "ques-\ntion\nmean", "memory\ntokens", "n"]
    uneven = any(row["mean"]["unscored_sources"] for row in evaluation["rows"])
    if uneven:
        headings.append("sour-\nces")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    level = percent(evaluation["bootstrap"]["level"])
    table.add_column(Text(f"against {evaluation['references'][0]}\n[{level} interval]"))
    for row in evaluation["rows"]:
        mean = row["mean"]
        compared = difference(evaluation, row["manager"])
        cells = [score(mean["score"]), score(mean["question_mean"]), tokens(mean["memory_tokens"])]
        cells.append(counted(mean))
        if uneven:
            cells.append(f"{mean['sources']}/{mean['sources'] + mean['unscored_sources']}")
        shown = Text(interval(compared) if compared else "")
        if compared and compared["excludes_zero"]:
            shown.stylize("bold")
        table.add_row(Text(row["manager"]), *cells, shown)
    return table


def _scores(evaluation: Evaluation, scope: str, names: Sequence[str]) -> Table:
    from rich.text import Text

    table = _empty(f"By {scope}")
    for name in names:
        table.add_column(Text(name), justify="right", max_width=_SOURCE_WIDTH - 2, overflow="fold")
    for row in evaluation["rows"]:
        cells = [row[f"{scope}s"].get(name) for name in names]
        shown = [Text.assemble(score(c["score"]), "\n", (below(c), "dim")) if c else Text(NOTHING) for c in cells]
        table.add_row(Text(row["manager"]), *shown)
    return table


def _empty(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("manager", overflow="fold")
    return table


def markdown_rows(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head, the first column names the rows."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---", *("---:" for _ in head[1:])]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *body))
