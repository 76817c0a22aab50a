import pytest

from finemem_pipeline.reporting import headline, markdown_table, text_table
from finemem_pipeline.reporting.table import interval, percent, score, signed, tokens


def test_the_printed_table_fits_eighty_columns_and_says_everything(evaluation):
    page = text_table(evaluation, width=80)
    assert max(map(len, page.splitlines())) <= 80
    lines = {line.split()[0]: line.split() for line in reversed(page.splitlines()) if line.split()}
    assert lines["trained"] == ["trained", "0.625", "0.625", "12.3k", "16+1", "2/2", "+0.125", "[+0.020,", "+0.230]*"]
    assert lines["no_memory"][-3:] == ["−0.500", "[−0.900,", "+0.100]"]
    assert "*: the interval excludes 0." in page


def test_a_reference_has_no_difference_and_a_missing_score_is_a_dash(evaluation):
    page = text_table(evaluation)
    overall = next(line for line in page.splitlines() if "warm_started" in line and "0.500" in line)
    assert overall.split() == ["warm_started", "0.500", "0.500", "38", "16+1", "1/2"]
    by_source = page[page.index("By source") :]
    assert next(line for line in by_source.splitlines() if "warm_started" in line).split()[1:] == ["0.500", "–"]


def test_sources_that_do_not_fit_beside_each_other_go_below(evaluation):
    evaluation["sources"] = [f"source-{n}" for n in range(9)]
    for row in evaluation["rows"]:
        row["sources"] = dict.fromkeys(evaluation["sources"], row["sources"]["squad"])
    page = text_table(evaluation, width=80)
    assert page.count("By source") == 3
    assert max(map(len, page.splitlines())) <= 80
    assert all(source in page for source in evaluation["sources"])


def test_a_single_source_is_named_and_not_repeated(evaluation):
    evaluation["sources"] = ["squad"]
    page = text_table(evaluation)
    assert page.startswith("Source squad")
    assert "By source" not in page


def test_names_that_look_like_markup_are_printed_as_they_are(evaluation):
    evaluation["rows"][0]["manager"] = evaluation["managers"][0] = "[bold]x[/]"
    evaluation["sources"][0] = "[red]squad"
    for row in evaluation["rows"]:
        row["sources"]["[red]squad"] = row["sources"].pop("squad")
    page = text_table(evaluation)
    assert "[bold]x[/]" in page
    assert "[red]squad" in page


def test_markdown_has_a_row_per_manager_and_a_column_per_source(evaluation):
    lines = markdown_table(evaluation).splitlines()
    assert lines[2] == "| trained | 0.625 | 0.625 | 12.3k | 16 | 1 | 2/2 | +0.125 [+0.020, +0.230]* | 0.112 |"
    assert lines[6] == "| manager | squad (n + unscored; tokens) | mquake (n + unscored; tokens) |"
    assert lines[9] == "| warm_started | 0.500 (8+1; 38) | – (8+1; 38) |"


def test_the_headline_is_the_first_managers_difference(evaluation):
    assert headline(evaluation) == (
        "trained scores 0.625 with 12.3k memory tokens: +0.125 against warm_started, 95 % interval "
        "[+0.020, +0.230] over 15 questions of 8 streams; the interval excludes 0."
    )


def test_the_headline_says_when_nothing_could_be_compared(evaluation):
    evaluation["differences"][0] |= {"mean": None, "low": None, "high": None}
    assert headline(evaluation).endswith("no question is scored for both it and warm_started.")
    evaluation["differences"] = []
    assert headline(evaluation) == "trained scores 0.625 with 12.3k memory tokens."


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (score(None), "–"),
        (score(0.5), "0.500"),
        (signed(-0.0312), "−0.031"),
        (tokens(0.0), "0"),
        (tokens(9999.4), "9999"),
        (tokens(9999.5), "10.0k"),
        (percent(0.025), "2.5 %"),
        (percent(None), "–"),
        (interval({"mean": None}), "–"),
    ],
)
def test_numbers_are_short_and_nothing_is_a_dash(shown, expected):
    assert shown == expected
