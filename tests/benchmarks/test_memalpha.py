from __future__ import annotations

import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.memalpha import EVERY, clean_label, find, keywords_of, label_question, load
from finemem_pipeline.benchmarks.streams import read_sets
from finemem_pipeline.config import DataConfig
from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.errors import DataError
from finemem_pipeline.reasoning import Asked
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.labels import asks_for_label, labelled_examples, searched
from finemem_pipeline.wiring import raw_files


@pytest.fixture(scope="module")
def folder(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_memalpha(tmp_path_factory.mktemp("memalpha"))


@pytest.fixture(scope="module")
def test_set(folder: Path) -> dict[str, Episode]:
    return {episode.source: episode for episode in load(folder, "test")}


def asked(episode: Episode) -> list[tuple[str, tuple[str, ...]]]:
    return [(question.text, question.answers) for question in episode.questions]


def refused(path: Path, split: str = "test") -> str:
    with pytest.raises(DataError) as caught:
        load(path, split)
    return str(caught.value)


def test_all_eight_sources_have_their_column_task_and_metric(test_set: dict[str, Episode]) -> None:
    assert {source: (episode.task, episode.questions[0].metric) for source, episode in test_set.items()} == {
        "squad": ("AR", "sub_em"),
        "hotpotqa": ("AR", "sub_em"),
        "perltqa": ("AR", "perltqa"),
        "lme_train": ("AR", "judge"),
        "pubmed-rct": ("TTL", "digit_label"),
        "nlu": ("TTL", "digit_label"),
        "trec_coarse": ("TTL", "digit_label"),
        "booksum": ("LRU", "keyword_recall"),
    }


def test_answers_may_be_texts_lists_numbers_or_objects_and_the_first_stays_first(test_set: dict[str, Episode]) -> None:
    assert asked(test_set["squad"]) == [
        ("Where was Beyoncé born?", ("Houston, Texas",)),
        ("When was Sicily taken?", ("1091", "in 1091")),
        ("How many?", ("1091",)),
        ("Which island?", ("Sicily",)),
    ]
    assert asked(test_set["hotpotqa"]) == [("Is A older than B?", ("yes",)), ("Who?", ("A",))]


def test_what_cannot_be_read_or_scored_is_left_out_and_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        list(load(folder, "test"))
        list(load(folder, "test"))  # told once
    [message] = [record.getMessage() for record in caplog.records]
    assert "5 left out" in message
    assert "question 3 of squad-test-0 has no reference" in message
    assert "chunk 1 of hotpotqa-test-1 is blank" in message


def test_the_keywords_of_perltqa_stay_in_one_reference(test_set: dict[str, Episode]) -> None:
    assert [answers for _, answers in asked(test_set["perltqa"])] == [
        ("Wang Wei; 表妹;Tokyo",),
        ("Tokyo",),
        ("Wang Wei; Tokyo",),
    ]


def test_the_type_of_a_judged_question_is_its_kind(test_set: dict[str, Episode]) -> None:
    assert [question.kind for question in test_set["lme_train"].questions] == [
        "single-session-preference",
        "knowledge-update",
    ]


def test_a_summary_keeps_its_gold_as_it_stands_and_has_clean_keywords(test_set: dict[str, Episode]) -> None:
    first, second = test_set["booksum"].questions
    assert first.answers == ("Elizabeth Bennet, Mr. Darcy,Netherfield, , “Pride”, mr. darcy, Mrs. Bennet's nerves,",)
    assert first.keywords == ("Elizabeth Bennet", "Mr. Darcy", "Netherfield", "Pride", "Mrs. Bennet's nerves")
    assert (second.answers, second.keywords) == (("Elizabeth,  Collins ",), ("Elizabeth", "Collins"))


@pytest.mark.parametrize(
    ("gold", "keywords"),
    [
        ("a, b", ("a", "b")),
        ("b,B , a", ("b", "a")),
        ("[a; b\nc]", ("a", "b", "c")),
        (["x, y", " z "], ("x, y", "z")),
        ("- 'one'., * 表妹", ("one", "表妹")),
        (" , ", ()),
        ([], ()),
    ],
)
def test_keywords_are_taken_apart(gold: str | list[str], keywords: tuple[str, ...]) -> None:
    assert keywords_of(gold) == keywords


def test_label_questions_are_asked_in_the_form_that_readers_know(test_set: dict[str, Episode]) -> None:
    questions = test_set["pubmed-rct"].questions
    assert questions[0].text == (
        "Sentence: Six died ( @ % ) .\nWhich label number does this sentence get? Answer with the number only."
    )
    assert all(asks_for_label(question.text) for question in questions)
    assert [searched(question.text) for question in questions] == [
        "Six died ( @ % ) .",
        "To assess sleep.",
        "Pain: a label.",
        "Sleep was short.",
    ]
    assert [question.answers for question in questions] == [("4",), ("3",), ("2",), ("0",)]
    assert labelled_examples(test_set["pubmed-rct"].chunks[0].text)[-2:] == (
        ("To assess pain.", "3"),
        ("Ten died.", "4"),
    )


def test_the_offline_reader_answers_a_label_question_from_the_examples(test_set: dict[str, Episode]) -> None:
    stream = test_set["pubmed-rct"]
    asked = [Asked(question.text, (stream.chunks[0].text,)) for question in stream.questions[:2]]
    assert [reply.text for reply in ExtractiveReasoner().answer(asked)] == ["4", "3"]


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("wake me at six", "wake me at six"),
        ("Question: Who was Kepler?\nlabel:", "Who was Kepler?"),
        ("Who was Kepler? label:", "Who was Kepler?"),
        ("Sentence: The only output was heat.", "The only output was heat."),
        ("Sentence: Ten died.\nPut the final answer in \\boxed{}.", "Ten died."),
        ("label:", "label:"),
    ],
)
def test_the_item_of_a_label_question_is_what_is_searched_for(text: str, item: str) -> None:
    assert searched(label_question(text)) == item


@pytest.mark.parametrize(("gold", "label"), [("\\boxed{ 3 }", "3"), (" 3 ", "3"), ("'3'", "3"), ('\\boxed{"3"}', "3")])
def test_a_label_loses_its_wrapping(gold: str, label: str) -> None:
    assert clean_label(gold) == label


def test_the_date_in_a_header_is_the_time_of_its_chunk_and_the_text_stays_whole(test_set: dict[str, Episode]) -> None:
    assert [chunk.timestamp for chunk in test_set["squad"].chunks] == ["2024-01-01 00:00", "2024-01-02 00:00"]
    assert [chunk.timestamp for chunk in test_set["booksum"].chunks] == ["2024-01-01", "2024-01-04"]
    assert test_set["lme_train"].chunks[0].timestamp == "2023/05/20 (Sat) 02:21"
    assert test_set["lme_train"].chunks[0].text.startswith("[Dialogue at timestamp 2023/05/20 (Sat) 02:21]\n<User>")


def test_dev_is_every_tenth_stream_of_each_source_and_no_part_of_train(folder: Path) -> None:
    train, dev = list(load(folder, "train")), list(load(folder, "dev"))
    assert (len(train), len(dev)) == (32, 8)
    assert sorted(episode.source for episode in dev) == sorted({episode.source for episode in train})
    assert {episode.id for episode in train} & {episode.id for episode in dev} == set()
    assert {episode.id for episode in train} & {episode.id for episode in load(folder, "test")} == set()


def test_ten_streams_of_a_source_hold_out_one(made: ModuleType, tmp_path: Path) -> None:
    row = made.memalpha_rows()[1]
    made.write(tmp_path / "train.parquet", [{**row, "instance_id": n} for n in range(2 * EVERY)])
    assert [episode.id for episode in load(tmp_path, "dev")] == ["hotpotqa-train-4", "hotpotqa-train-14"]
    assert len(list(load(tmp_path, "train"))) == 18


def test_a_dev_file_of_its_own_leaves_train_whole(made: ModuleType, tmp_path: Path) -> None:
    made.write_memalpha(tmp_path)
    made.write(tmp_path / "dev.parquet", made.memalpha_rows()[:2])
    assert [episode.id for episode in load(tmp_path, "dev")] == ["squad-dev-0", "hotpotqa-dev-1"]
    assert len(list(load(tmp_path, "train"))) == 40


def test_too_few_streams_for_a_dev_set_are_refused(made: ModuleType, tmp_path: Path) -> None:
    made.write(tmp_path / "train.parquet", made.memalpha_rows())
    assert "no dev.parquet, and no source of train.parquet has 5 streams to hold one out" in refused(tmp_path, "dev")


def test_a_file_gives_itself_and_shards_are_read_in_order(made: ModuleType, tmp_path: Path, folder: Path) -> None:
    assert len(list(load(folder / "train.parquet", "train"))) == 40
    for shard in range(2):
        rows = [{**row, "instance_id": shard * 8 + n} for n, row in enumerate(made.memalpha_rows())]
        made.write(tmp_path / "data" / f"test-0000{shard}-of-00002.parquet", rows)
    assert [episode.id for episode in load(tmp_path, "test")][7:9] == ["booksum-test-7", "squad-test-8"]


def test_reading_twice_gives_equal_streams(folder: Path) -> None:
    assert list(load(folder, "test")) == list(load(str(folder), "test")) == list(BENCHMARKS["memalpha"](folder, "test"))


def test_lists_that_were_never_made_json_are_read_too(made: ModuleType, tmp_path: Path) -> None:
    row = made.memalpha_rows()[1]
    plain = {**row, "chunks": json.loads(row["chunks"]), "questions_and_answers": [{"question": "Who?", "answer": "A"}]}
    file = made.write(tmp_path / "x.parquet", [{**plain, "num_questions": 1}])
    [episode] = load(file, "test")
    assert asked(episode) == [("Who?", ("A",))]


def test_a_stream_may_ask_nothing(made: ModuleType, tmp_path: Path) -> None:
    file = made.write(tmp_path / "x.parquet", [made.memalpha_row(0, "squad", ["text"], [])])
    [episode] = load(file, "test")
    assert episode.questions == ()


def test_the_sets_of_a_run_come_from_two_files(folder: Path) -> None:
    config = DataConfig(source="memalpha", path=folder)
    assert raw_files(config) == [folder / "train.parquet", folder / "test.parquet"]
    sets = read_sets("memalpha", folder, sources=["squad", "booksum"], limits={"train": 5})
    assert {split: [episode.source for episode in sets[split]] for split in sets} == {
        "train": ["squad", "booksum", "squad", "booksum", "squad"],
        "dev": ["squad", "booksum"],
        "test": ["squad", "booksum"],
    }


def broken_rows(made: ModuleType) -> list[dict[str, Any]]:
    good = made.memalpha_rows()[0]
    return [
        good,
        {**good, "instance_id": 1, "chunks": '["cut off'},
        {**good, "instance_id": 2, "data_source": "squid"},
        {**good, "instance_id": 3, "chunks": "{}"},
        {**good, "instance_id": 4, "chunks": '["half \\ud800", 7]'},
        {**good, "instance_id": 5, "chunks": '["", " "]'},
        {
            **good,
            "instance_id": 6,
            "questions_and_answers": '["?", {"question": 3, "answer": "a"}, {"answer": "a"}, '
            '{"question": "q", "answer": null}, '
            '{"question": "q", "answer": ["a", true]}, {"question": "q", "answer": 1}]',
        },
        {**good, "num_chunks": 9, "instance_id": 7},
        good,
        {**good, "instance_id": 9, "questions_and_answers": "[" * 100_000},
    ]


def test_every_fault_is_told_at_once_with_file_row_column_and_reason(made: ModuleType, tmp_path: Path) -> None:
    file = made.write(tmp_path / "bad.parquet", broken_rows(made))
    said = refused(file)
    assert said.startswith(f"{file}: ")
    for expected in (
        "bad.parquet:2: chunks: not JSON: Unterminated string",
        "bad.parquet:3: data_source: \"squid\" is no source. Did you mean 'squad'? Known: squad, hotpotqa",
        "bad.parquet:4: chunks: expected a list in JSON, found {}",
        "bad.parquet:5: chunks[0]: holds a lone surrogate",
        "bad.parquet:5: chunks[1]: expected text, found 7",
        "bad.parquet:6: chunks: holds no text",
        'bad.parquet:7: questions_and_answers[0]: expected an object, found "?"',
        "bad.parquet:7: questions_and_answers[1].question: expected text, found 3",
        "bad.parquet:7: questions_and_answers[2].question: is missing",
        "bad.parquet:7: questions_and_answers[3].answer: expected text, found null",
        "bad.parquet:7: questions_and_answers[4].answer[1]: expected text, found true",
        "bad.parquet:8: chunks: holds 2, but num_chunks says 9",
        "bad.parquet:9: instance_id: 0 already stands in row 1",
        "bad.parquet:10: questions_and_answers: not usable JSON: nested too deeply",
    ):
        assert expected in said
    assert "bad.parquet:1:" not in said


def test_the_bad_rows_of_all_shards_are_told_together(made: ModuleType, tmp_path: Path) -> None:
    bad = {**made.memalpha_rows()[0], "chunks": "nonsense"}
    for shard in range(2):
        made.write(tmp_path / f"test-0000{shard}-of-00002.parquet", [bad])
    said = refused(tmp_path)
    assert "test-00000-of-00002.parquet:1: chunks: not JSON" in said
    assert "test-00001-of-00002.parquet:1: chunks: not JSON" in said


def test_a_file_without_rows_says_how_to_get_the_real_one(made: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "test.parquet"
    made.write(file, made.memalpha_rows(), None)
    made.pq.write_table(made.pq.read_table(file).slice(0, 0), file)
    assert "the file has no rows. Get the real file (62 MB in all): hf download YuWangX/Memalpha" in refused(tmp_path)


def test_a_missing_split_says_what_is_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tests\.parquet\. Did you mean 'test\.parquet'\?"):
        find(folder, "tests")
    assert "is empty or not there" in refused(tmp_path)


def test_questions_are_numbered_as_in_the_file(test_set: dict[str, Episode]) -> None:
    first: Question = test_set["squad"].questions[-1]
    assert first.id == "squad-test-0-q005"
