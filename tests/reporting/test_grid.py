from __future__ import annotations

from finemem_pipeline.reporting.grid import Grid, markdown_grids, signed_interval, text_grids, with_interval

GRID = Grid("Schemes", "A note.", ("scheme", "rank | share"), (("cited", "0.6"), ("uniform", "–")))


def test_a_table_is_printed_with_its_title_and_its_note():
    lines = [line.strip() for line in text_grids([GRID], width=60).splitlines()]
    assert lines[0] == "Schemes"
    assert lines[-1] == "A note."
    assert any(line.split() == ["cited", "0.6"] for line in lines)


def test_a_narrow_console_wraps_cells_and_cuts_none_off():
    wide = Grid("T", "", ("scheme", "a very long heading"), (("leave_one_out", "0.123 [0.100, 0.200]"),))
    printed = text_grids([wide], width=24)
    assert "…" not in printed
    assert [part in printed for part in ("leave", "0.123", "[0.100,", "0.200]")] == [True] * 4


def test_markdown_escapes_what_would_end_a_cell():
    assert "| scheme | rank \\| share |\n| --- | ---: |\n| cited | 0.6 |" in markdown_grids([GRID])


def test_a_cell_shows_its_interval_where_there_is_one():
    cell = {"mean": -0.125, "low": -0.25, "high": 0.0}
    assert with_interval(cell) == "−0.125 [−0.250, 0.000]"
    assert with_interval({**cell, "low": None, "high": None}) == "−0.125"
    assert with_interval({"mean": None, "low": None, "high": None}) == "–"
    assert signed_interval({"mean": 0.2, "low": 0.1, "high": 0.3}) == "+0.200 [+0.100, +0.300]*"
    assert signed_interval({"mean": 0.2, "low": -0.1, "high": 0.3}) == "+0.200 [−0.100, +0.300]"
    assert signed_interval(None) == "–"
