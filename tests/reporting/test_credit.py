from __future__ import annotations

import re

from finemem_pipeline.reporting.credit import fidelity_grids, fidelity_plot
from finemem_pipeline.reporting.report import Section, write_page


def cell(mean: float | None) -> dict:
    return {"mean": mean, "low": None if mean is None else mean - 0.1, "high": None if mean is None else mean + 0.1} | {
        "n": 4,
        "missing": 1,
    }


def summary() -> dict:
    def row(scheme: str, mean: float | None) -> dict:
        measures = {"spearman, shapley": cell(mean), "calls": cell(2.0)}
        return {"scheme": scheme, "measures": measures, "difference": None if scheme == "retrieved" else cell(0.2)} | {
            "milliseconds": cell(1.5)
        }

    families = {name: {"retrieved": cell(0.3), "cited<b>": cell(None)} for name in ("clean", "early")}
    return {
        **{"units": 3, "episodes": 4, "level": 0.95, "leading": "spearman, shapley", "reference": "retrieved"},
        "schemes": [row("retrieved", 0.4), row("cited<b>", 0.6)],
        "by": {"family": families, "steps": {"5": families["clean"]}, "habit": {"faithful": families["clean"]}},
    }


def test_every_scheme_has_a_row_and_parts_with_one_value_have_no_table():
    first, counts, cost, family = fidelity_grids(summary())
    assert [row[0] for row in first.rows] == ["retrieved", "cited<b>"]
    assert first.rows[1][1:] == ("0.600 [0.500, 0.700]", "2.0 [1.9, 2.1]", "+0.200 [+0.100, +0.300]*")
    assert counts.rows[0][1] == "4 (1)"
    assert cost.rows[0] == ("retrieved", "1.50 [1.40, 1.60]")
    assert family.head == ("scheme", "clean", "early")
    assert family.rows[1][1:] == ("–", "–")


def test_the_page_stands_alone_and_shows_tables_and_picture(tmp_path):
    found = summary()
    section = Section("Fidelity", (fidelity_plot(found),), tuple(fidelity_grids(found)))
    page = write_page(tmp_path / "deep" / "credit.html", "Credit", {"reader": "a & b"}, [section]).read_text()
    assert page.count("<table>") == 4
    assert page.count("<svg") == 1
    assert "a &amp; b" in page
    assert "cited&lt;b&gt;" in page
    assert "<b>cited" not in page
    assert not re.search(r'(?:src|href)="https?://', page)
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["credit.html"]
