"""Predictions made by hand for every source of both benchmarks, with their scores and averages worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from statistics import fmean

import pytest

from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.evaluation import by_source, by_task, mean_over_sources, question_mean, results_from_rollouts
from finemem_pipeline.evaluation.results import StreamResult
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.memory import MemoryBank
from finemem_pipeline.metrics import JUDGE, published_score, score
from finemem_pipeline.reasoning.judge import Judged, RubricJudge
from finemem_pipeline.rollouts import Answer, Completion, Rollout, RolloutGroup, StepRecord

TABLE = json.loads(Path(__file__).with_name("worked_table.json").read_text(encoding="utf-8"))
FACES = ("fixed", "published")
SOURCES = {
    "memalpha": {"squad", "hotpotqa", "perltqa", "lme_train", "pubmed-rct", "booksum", "nlu", "trec_coarse"},
    "memoryagentbench": {
        "banking77", "clinic150", "nlu", "trec_coarse", "trec_fine", "infbench_sum", "longmemeval_s", "ruler_qa1",
        "ruler_qa2", "eventqa", "detective_qa", "recsys", "factconsolidation_sh", "factconsolidation_mh",
    },
}  # fmt: skip


def rows() -> Iterator[tuple[dict, str]]:
    for benchmark, table in TABLE.items():
        for stream in table["streams"]:
            for place, row in enumerate(stream["questions"]):
                yield row, f"{benchmark}-{stream['stream']}-{place}"


def number(written: str | None) -> float | None:
    return None if written is None else float(Fraction(written))


def question(row: dict, name: str = "q") -> Question:
    return Question(
        name,
        "?",
        tuple(row["answers"]),
        row["metric"],
        keywords=tuple(row.get("keywords", ())),
        kind=row.get("kind", ""),
    )


def scored(row: dict, face: str) -> float | None:
    """A judge's verdict has one face."""
    if row["metric"] == JUDGE:
        judge = RubricJudge(ScriptedGenerator([row["verdict"]]))
        [verdict] = judge.judge([Judged("?", tuple(row["answers"]), row["said"], row.get("kind", ""))])
        return verdict.score
    rule = score if face == "fixed" else published_score
    return rule(row["said"], question(row))


def results(benchmark: str, face: str) -> list[StreamResult]:
    """The table as an evaluation would find it in its rollouts."""
    episodes, groups = [], []
    for stream in TABLE[benchmark]["streams"]:
        asked = {f"q{place}": row for place, row in enumerate(stream["questions"])}
        finals = tuple(question(row, name) for name, row in asked.items())
        name = stream["stream"]
        episodes.append(Episode(name, stream["source"], stream["task"], (Chunk(0, "text"),), finals))
        step = StepRecord(0, Completion("[]"), (), (), MemoryBank(), bank_tokens=0, chunk_tokens=1)
        answers = tuple(Answer(name, row["said"], score=scored(row, face)) for name, row in asked.items())
        groups.append(RolloutGroup(name, (Rollout(name, 0, (step,), answers, tokens_read=1),)))
    return results_from_rollouts("by hand", episodes, groups)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("row", [pytest.param(row, id=name) for row, name in rows()])
def test_a_prediction_scores_what_was_worked_out(row: dict, face: str):
    expected = number(row[face])
    assert scored(row, face) == (expected if expected is None else pytest.approx(expected, abs=1e-12)), row["why"]


@pytest.mark.parametrize("benchmark", sorted(SOURCES))
def test_every_source_is_in_the_table_and_so_are_its_differences(benchmark: str):
    table = TABLE[benchmark]
    assert {stream["source"] for stream in table["streams"]} == set(table["sources"]) == SOURCES[benchmark]
    assert {row["metric"] for row, _ in rows() if row["fixed"] != row["published"]} == {
        "sub_em", "yes_no", "perltqa", "digit_label", "keyword_recall", "exact_match", "recall_at_5", "ruler",
        "event_recall",
    }  # fmt: skip


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("benchmark", sorted(SOURCES))
def test_the_averages_go_from_questions_to_streams_to_sources_to_their_mean(benchmark: str, face: str):
    table, found = TABLE[benchmark], results(benchmark, face)
    cells = by_source(found)
    assert {source: cell.score for (_, source), cell in cells.items()} == pytest.approx(
        {source: number(expected[face]) for source, expected in table["sources"].items()}
    )
    whole = mean_over_sources(found)
    assert whole.score == pytest.approx(number(table["mean over sources"][face]))
    assert (whole.sources, whole.unscored) == (len(table["sources"]), table["unscored"])
    assert question_mean(found) == pytest.approx(number(table["question mean"][face]))


@pytest.mark.parametrize("face", FACES)
def test_the_four_competencies_of_memoryagentbench_weigh_the_same(face: str):
    table = TABLE["memoryagentbench"]
    tasks = {task: cell.score for task, cell in by_task(results("memoryagentbench", face)).items()}
    assert tasks == pytest.approx({task: number(expected[face]) for task, expected in table["tasks"].items()})
    scores = [score for score in tasks.values() if score is not None]
    assert fmean(scores) == pytest.approx(number(table["mean over tasks"][face]))
