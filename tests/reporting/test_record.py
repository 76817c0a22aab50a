import csv
import re
from io import StringIO
from statistics import fmean

import pytest

from finemem_pipeline.evaluation import QuestionResult, StreamResult, evaluate_table
from finemem_pipeline.reporting.record import RecordCell, published, record_csv, record_tables, write_record

MEMALPHA = ("squad", "hotpotqa", "perltqa", "trec_coarse", "nlu", "pubmed-rct", "booksum")
AGENTBENCH = (
    *("ruler_qa1", "ruler_qa2", "longmemeval_s", "trec_coarse", "nlu", "trec_fine", "clinic150", "banking77"),
    "infbench_sum",
)


def result(manager, source, scores, *, benchmark="memalpha", faces=None, tokens=100.0):
    questions = tuple(
        QuestionResult(manager, source, "AR", f"{source}-1", f"q{place}", "sub_em", score, face)
        for place, (score, face) in enumerate(zip(scores, faces or scores, strict=True))
    )
    operations = {"insert": 1.0, "update": 0.0, "delete": 0.0, "skip": 0.0}
    return StreamResult(
        *(manager, source, "AR", f"{source}-1", tokens, 1000.0, 2, 0.0, 0.0, operations, questions), benchmark=benchmark
    )


def table(*results):
    return evaluate_table(results, results[0].manager, resamples=20)


def by_name(evaluation, loaders):
    return {each.name: each for each in record_tables(evaluation, loaders)}


def test_ours_stands_above_theirs_in_the_columns_of_the_published_table():
    evaluation = table(*(result("trained", source, [1.0, 0.0]) for source in MEMALPHA))
    found = by_name(evaluation, {"memalpha": "memalpha"})["memalpha"]
    assert found.columns == ("SQuAD", "HotpotQA", "PerLTQA", "TREC-Coarse", "NLU", "PubMed-RCT", "BookSum")
    ours, *theirs = found.lines
    assert (ours.method, ours.origin, ours.mean.score, ours.mean.n) == ("trained", "ours", 0.5, 14)
    assert {line.origin for line in theirs} == {"published"}
    [mem_alpha] = [line for line in theirs if line.method == "Mem-α-4B (β .05, γ .1)"]
    assert mem_alpha.cells[0] == RecordCell(0.786, 10_100.0)
    assert (round(mem_alpha.mean.score, 3), mem_alpha.printed.score) == (0.619, 0.642)


def test_a_row_that_is_not_full_has_no_column_mean():
    evaluation = table(*(result("trained", source, [1.0]) for source in MEMALPHA[:-1]))
    [ours, *_] = by_name(evaluation, {"memalpha": "memalpha"})["memalpha"].lines
    assert ours.cells[-1] == RecordCell()
    assert ours.mean.score is None
    assert ours.mean.n == 6


def test_an_unscored_source_leaves_the_mean_untold_and_is_counted():
    evaluation = table(*(result("trained", source, [None if source == "nlu" else 1.0]) for source in MEMALPHA))
    [ours, *_] = by_name(evaluation, {"memalpha": "memalpha"})["memalpha"].lines
    assert (ours.mean.score, ours.mean.n, ours.mean.unscored) == (None, 6, 1)


def test_the_published_face_has_a_line_of_its_own_where_it_differs():
    evaluation = table(
        *(result("trained", source, [1.0, 0.0], faces=[float(source != "perltqa"), 0.0]) for source in MEMALPHA),
        *(result("no_memory", source, [0.0, 0.0]) for source in MEMALPHA),
    )
    lines = by_name(evaluation, {"memalpha": "memalpha"})["memalpha"].lines
    assert [(line.method, line.scorer) for line in lines[:3]] == [
        ("trained", "fixed"),
        ("trained", "published"),
        ("no_memory", "fixed"),
    ]
    assert (lines[0].cells[2].score, lines[1].cells[2].score) == (0.5, 0.0)
    assert (lines[0].mean.question_mean, lines[1].mean.question_mean) == (0.5, pytest.approx(6 / 14))


def test_a_benchmark_without_published_numbers_has_a_table_of_its_own_sources():
    evaluation = table(result("trained", "diary", [1.0], benchmark="mine"), result("trained", "squad", [0.5]))
    found = record_tables(evaluation, {"mine": "realbench", "memalpha": "memalpha"})
    assert [(each.name, each.evaluated) for each in found] == [
        ("mine", True),
        ("memalpha", True),
        ("memoryagentbench", False),
        ("competencies", False),
        ("fine_mem", False),
    ]
    assert found[0].columns == ("diary",)


def test_a_source_that_the_published_table_has_no_column_for_is_not_lost():
    evaluation = table(result("trained", "squad", [1.0]), result("trained", "lme_train", [0.5]))
    [first, *_] = record_tables(evaluation, {"memalpha": "memalpha"})
    assert (first.name, first.columns, first.lines[0].mean.score) == ("memalpha-others", ("lme_train",), 0.5)


def test_the_pipelines_own_test_set_is_never_set_beside_published_numbers():
    evaluation = table(*(result("trained", source, [1.0], benchmark="test") for source in MEMALPHA))
    assert [each.name for each in record_tables(evaluation, {}) if each.evaluated] == ["test"]


def test_a_source_in_two_benchmarks_is_told_apart():
    evaluation = table(result("trained", "nlu", [1.0]), result("trained", "nlu", [0.0], benchmark="memoryagentbench"))
    found = by_name(evaluation, {"memalpha": "memalpha", "memoryagentbench": "memoryagentbench"})
    scores = [found[name].lines[0].cells[found[name].columns.index("NLU")].score for name in AVERAGES]
    assert scores == [1.0, 0.0]


AVERAGES = ("memalpha", "memoryagentbench")


def test_the_average_over_both_benchmarks_is_the_mean_over_all_their_columns():
    evaluation = table(
        *(result("trained", source, [1.0]) for source in MEMALPHA),
        *(result("trained", source, [0.0], benchmark="memoryagentbench") for source in AGENTBENCH),
        *(result("no_memory", source, [0.0]) for source in MEMALPHA),
    )
    lines = by_name(evaluation, {name: name for name in AVERAGES})["fine_mem"].lines
    assert [(line.method, line.cells[0].score) for line in lines if line.origin == "ours"] == [("trained", 7 / 16)]


def test_two_sets_of_one_loader_are_two_lines():
    evaluation = table(
        result("trained", "squad", [1.0], benchmark="a"), result("trained", "squad", [0.0], benchmark="b")
    )
    lines = by_name(evaluation, {"a": "memalpha", "b": "memalpha"})["memalpha"].lines
    assert [line.method for line in lines[:2]] == ["trained on a", "trained on b"]


PRINTED = {
    ("memalpha", "MemAgent-14B"): (0.236, 0.226),
    ("memalpha", "Mem-α-4B (β .05, γ .1)"): (0.642, 0.619),
    ("memalpha", "Mem-α-4B (β 0, γ .1)"): (0.630, 0.620),
    ("memoryagentbench", "Long-Context 32K"): (0.461, 0.480),
    ("memoryagentbench", "RAG-Top2"): (0.502, 0.532),
    ("memoryagentbench", "Mem-α-4B"): (0.592, 0.592),
}


def test_published_averages_stand_as_printed_beside_the_mean_of_their_row():
    found = by_name(table(result("trained", "squad", [1.0])), {})
    for (name, method), (printed, mean) in PRINTED.items():
        [line] = [line for line in found[name].lines if line.method == method and line.origin == "published"]
        assert (line.printed.score, round(line.mean.score, 3)) == (printed, mean), method
        assert line.mean.score == fmean(cell.score for cell in line.cells)


@pytest.mark.parametrize("name", [each["name"] for each in published()])
def test_every_published_row_has_a_cell_for_every_column_and_says_where_it_is_from(name):
    [found] = [each for each in published() if each["name"] == name]
    assert found["source"]
    assert all(len(row["cells"]) == len(found["columns"]) for row in found["rows"])
    scores = [cell[0] if isinstance(cell, list) else cell for row in found["rows"] for cell in row["cells"]]
    assert all(0 <= score <= 1 for score in scores)


def test_the_csv_is_a_row_per_line_with_the_columns_of_all_tables():
    evaluation = table(
        result("trained", "diary", [1.0, 0.5, None], benchmark="mine", tokens=12.5),
        result("no_memory", "diary", [0.0, 0.0, 0.0], faces=[0.0, 1.0, 0.0], benchmark="mine", tokens=0.0),
    )
    text = record_csv([each for each in record_tables(evaluation, {"mine": "locomo"}) if each.evaluated])
    assert text == (
        "table,method,origin,scorer,column mean,low,high,average as printed,question mean,"
        "memory tokens,memory as printed,n,unscored,rebuilds,training seeds,diary,diary memory,diary n,diary unscored\n"
        "mine,trained,ours,fixed,0.75,0.5,1,,0.75,12.5,,2,1,1,1,0.75,12.5,2,1\n"
        "mine,no_memory,ours,fixed,0,0,0,,0,0,,3,0,1,1,0,0,3,0\n"
        "mine,no_memory,ours,published,0.333333,,,,0.333333,0,,3,0,1,1,0.333333,0,3,0\n"
    )


def test_the_csv_holds_the_published_rows_as_they_are():
    rows = list(csv.DictReader(StringIO(record_csv(record_tables(table(result("trained", "squad", [1.0])), {})))))
    [row] = [row for row in rows if row["table"] == "memoryagentbench" and row["method"] == "Mem-α-4B"]
    assert (row["origin"], row["average as printed"], row["RULER-QA2"], row["RULER-QA2 memory"]) == (
        *("published", "0.592", "0.68", "323000"),
    )
    assert (row["n"], row["SQuAD"]) == ("", "")
    assert len(rows) == 1 + sum(len(each["rows"]) for each in published())


def test_page_and_csv_stand_beside_each_other_and_published_rows_are_marked(tmp_path):
    evaluation = table(*(result("trained", source, [1.0, 0.0]) for source in MEMALPHA))
    page, sheet = write_record(tmp_path / "table.html", evaluation, {"memalpha": "memalpha"}, {"code": "a1b2c3d"})
    assert (page.name, sheet.name) == ("table.html", "table.csv")
    text = page.read_text("utf-8")
    marked = sum(len(each["rows"]) for each in published())
    assert len(re.findall(r'class="tag">published<', text)) == marked
    assert "a1b2c3d" in text
    assert "Published, not evaluated here" in text
    assert sheet.read_text("utf-8").splitlines()[1].startswith("memalpha,trained,ours,fixed,0.5,")
