from __future__ import annotations

import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.memoryagentbench import SPLITS, find, load, read
from finemem_pipeline.benchmarks.tokens import approximate_tokens
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import DataError
from finemem_pipeline.reasoning.labels import labelled_examples, searched


@pytest.fixture(scope="module")
def folder(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_memoryagentbench(tmp_path_factory.mktemp("memoryagentbench"))


@pytest.fixture(scope="module")
def streams(folder: Path) -> dict[str, Episode]:
    return {episode.id: episode for episode in load(folder, "test")}


def of(streams: dict[str, Episode], source: str) -> Episode:
    return next(episode for episode in streams.values() if episode.source == source)


def refused(path: Path, split: str = "test") -> str:
    with pytest.raises(DataError) as caught:
        load(path, split)
    return str(caught.value)


def words(text: str) -> int:
    return len(text.split())


def test_every_source_of_all_four_splits_has_its_column_task_and_metric(streams: dict[str, Episode]) -> None:
    assert {e.source: (e.task, e.questions[0].metric, e.questions[0].kind) for e in streams.values()} == {
        "ruler_qa1": ("AR", "ruler", "single_hop"),
        "ruler_qa2": ("AR", "ruler", "multi_hop"),
        "longmemeval_s": ("AR", "judge", "multi-session"),
        "eventqa": ("AR", "event_recall", ""),
        "banking77": ("TTL", "exact_match", ""),
        "clinic150": ("TTL", "exact_match", ""),
        "nlu": ("TTL", "exact_match", ""),
        "trec_coarse": ("TTL", "exact_match", ""),
        "trec_fine": ("TTL", "exact_match", ""),
        "recsys": ("TTL", "recall_at_5", ""),
        "infbench_sum": ("LRU", "judge", "summary"),
        "detective_qa": ("LRU", "exact_match", ""),
        "factconsolidation_sh": ("CR", "ruler", "single_hop"),
        "factconsolidation_mh": ("CR", "ruler", "multi_hop"),
    }
    assert [name for name in streams if "factconsolidation" in name] == [
        "factconsolidation_sh_6k-1",
        "factconsolidation_sh_262k-2",
        "factconsolidation_mh_6k-3",
        "factconsolidation_mh_262k-4",
    ]


@pytest.mark.parametrize(("split", "rows"), list(zip(SPLITS, (4, 6, 2, 4), strict=True)))
def test_a_split_by_its_own_name_is_read_alone(folder: Path, split: str, rows: int) -> None:
    assert len(list(load(folder, split))) == rows


def test_what_is_there_is_read_where_only_some_files_were_fetched(made: ModuleType, tmp_path: Path) -> None:
    made.write(tmp_path / "Conflict_Resolution.parquet", made.hub_rows()["Conflict_Resolution"], made.HUB)
    assert len(list(load(tmp_path, "test"))) == 4
    assert "no Test_Time_Learning-00000-of-00001.parquet. In" in refused(tmp_path, "Test_Time_Learning")


def test_there_is_nothing_to_train_on(folder: Path) -> None:
    said = refused(folder, "train")
    assert "MemoryAgentBench has no split 'train': it is for evaluation" in said
    assert "'test' is all of it, its parts are Accurate_Retrieval, Test_Time_Learning" in said


def test_the_conversion_of_mem_alpha_is_told_by_its_columns(made: ModuleType, tmp_path: Path) -> None:
    made.write_converted(tmp_path)
    found = list(load(tmp_path, "test"))
    assert found == list(load(tmp_path / "test.parquet", "test")) == list(BENCHMARKS["memalpha"](tmp_path, "test"))
    assert {e.source: (e.task, e.questions[0].metric) for e in found} == {
        "banking77": ("TTL", "digit_label"),
        "clinic150": ("TTL", "digit_label"),
        "nlu": ("TTL", "digit_label"),
        "trec_coarse": ("TTL", "digit_label"),
        "trec_fine": ("TTL", "digit_label"),
        "infbench_sum": ("LRU", "keyword_recall"),
        "longmemeval_s": ("AR", "judge"),
        "ruler_qa1": ("AR", "ruler"),
        "ruler_qa2": ("AR", "ruler"),
    }


def test_of_equal_words_only_what_differs_is_searched_for(streams: dict[str, Episode]) -> None:
    """Issue 23 of the benchmark: shared words in the query make BM25 rank by them."""
    first = {episode.source: searched(episode.questions[0].text) for episode in streams.values()}
    assert first == {
        "ruler_qa1": "Where does Town 2 lie?",
        "ruler_qa2": "Is Town 3 small?",
        "longmemeval_s": "How many cats do I have?",
        "eventqa": "1. Ada leaves for Peru.\n2. Bo weeps.",
        "recsys": "User: I like Alien. What else?",
        "infbench_sum": "You are given a book above and you are tasked to summarize it.",
        "detective_qa": "Who ran? A. Ada B. The butler",
        "factconsolidation_sh": "What is the capital of land 3?",
        "factconsolidation_mh": "What is the capital of land 3?",
        **dict.fromkeys(("banking77", "clinic150", "nlu", "trec_coarse", "trec_fine"), "where is my card"),
    }


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("longmemeval_s", "The question is asked on 2023/06/01 (Thu) 08:00."),
        ("eventqa", "Reply with that event alone.\n- Ada returns with a parrot.\n- Bo sings."),
        ("recsys", "twenty titles"),
        ("factconsolidation_sh", "the one with the larger number is newer and holds"),
        ("banking77", "Answer with the number only."),
    ],
)
def test_the_reader_is_told_how_to_answer(streams: dict[str, Episode], source: str, told: str) -> None:
    assert told in of(streams, source).questions[0].text


def test_an_event_question_of_another_form_is_left_as_it_is(made: ModuleType, tmp_path: Path) -> None:
    rows = [made.hub_row("eventqa_65536", "Ada left.", ["What happens next?"], [["Bo sings."]])]
    [episode] = load(made.write(tmp_path / "x.parquet", rows, made.HUB), "test")
    assert episode.questions[0].text == "What happens next?"


def test_questions_to_a_chat_have_their_type_their_evidence_and_may_want_no_answer(streams: dict[str, Episode]) -> None:
    asked = of(streams, "longmemeval_s").questions
    assert [(question.kind, question.evidence) for question in asked] == [
        ("multi-session", (0, 1)),
        ("abstention", ()),
        ("temporal-reasoning", (1,)),
    ]


def test_sessions_do_not_share_chunks_and_every_chunk_names_its_date(made: ModuleType, tmp_path: Path) -> None:
    file = made.write(tmp_path / "x.parquet", [made.hub_rows()["Accurate_Retrieval"][2]], made.HUB)
    [episode] = read(file, "test", words, 20)
    first, second = "2022/11/17 (Thu) 12:04", "2023/05/30 (Tue) 23:40"
    assert [(chunk.timestamp, chunk.text) for chunk in episode.chunks] == [
        (
            first,
            f'[Conversation on {first}]\nUser: I\'ve got two cats: "Mia" and Tom.\n'
            "Assistant: Lovely. Lovely. Lovely. Lovely. Lovely. Lovely.",
        ),
        (first, f"[Conversation on {first}]\n" + " ".join(["Lovely."] * 15)),
        (first, f"[Conversation on {first}]\n" + " ".join(["Lovely."] * 9)),
        (second, f"[Conversation on {second}]\nUser: Zoë moved to 東京.\nAssistant: Noted."),
    ]
    assert all(words(chunk.text) <= 20 for chunk in episode.chunks)
    assert [question.evidence for question in episode.questions] == [(0, 3), (), (3,)]
    assert "has_answer" not in "".join(chunk.text for chunk in episode.chunks)


@pytest.mark.parametrize("print_", [repr, json.dumps])
def test_a_chat_is_read_from_either_way_of_printing_it(made: ModuleType, tmp_path: Path, print_: Any) -> None:
    row = made.hub_row("longmemeval_s*", print_(made.SESSIONS), ["?"], [["!"]])
    [episode] = load(made.write(tmp_path / "x.parquet", [row], made.HUB), "test")
    assert [chunk.timestamp for chunk in episode.chunks] == ["2022/11/17 (Thu) 12:04", "2023/05/30 (Tue) 23:40"]


@pytest.mark.parametrize("context", ["A plain text. It's short.", "['a date']", "[1, 2]", "['d', [{'role': 'user'}]]"])
def test_a_chat_in_an_unknown_form_is_cut_as_text(made: ModuleType, tmp_path: Path, context: str) -> None:
    row = made.hub_row("longmemeval_s*", context, ["?"], [["!"]])
    [episode] = load(made.write(tmp_path / "x.parquet", [row], made.HUB), "test")
    assert [(chunk.text, chunk.timestamp) for chunk in episode.chunks] == [(context, None)]


def test_facts_keep_their_numbers_and_examples_their_labels(folder: Path) -> None:
    cut = {episode.source: episode for episode in read(folder, "test", words, 16)}
    facts = [chunk.text for chunk in cut["factconsolidation_sh"].chunks]
    assert facts[0] == "Here is a list of facts:\n0. The capital of land 0 is town 0."
    assert facts[1] == "1. The capital of land 1 is town 1."
    examples = [chunk.text for chunk in cut["banking77"].chunks]
    assert examples[0] == "where is card 0? tell me\nlabel: 0\n\nwhere is card 1? tell me\nlabel: 1"
    assert sum(len(labelled_examples(text)) for text in examples) == 12


def test_chunks_are_as_long_as_the_paper_has_them(made: ModuleType, tmp_path: Path) -> None:
    text = "The cat sat on the mat. " * 1200  # 8,400 tokens
    rows = [made.hub_row(source, text, ["?"], [["!"]]) for source in ("ruler_qa1_197K", "detective_qa", "eventqa_full")]
    sizes = {
        episode.source: [approximate_tokens(chunk.text) for chunk in episode.chunks]
        for episode in load(made.write(tmp_path / "x.parquet", rows, made.HUB), "test")
    }
    assert sizes == {
        "ruler_qa1": [511] * 16 + [224],
        "detective_qa": [4095, 4095, 210],
        "eventqa": [4095, 4095, 210],
    }


def test_a_chunk_is_the_contexts_own_text(folder: Path) -> None:
    for cut in read(folder, "Test_Time_Learning", words, 9):
        whole = list(read(folder, "Test_Time_Learning"))
        [before] = [episode for episode in whole if episode.id == cut.id]
        assert "".join("".join(c.text.split()) for c in cut.chunks) == "".join(
            "".join(c.text.split()) for c in before.chunks
        )


def test_numbers_of_films_become_titles(streams: dict[str, Episode]) -> None:
    assert of(streams, "recsys").questions[0].answers == ("The Matrix", "Léon: The Professional")


def test_without_the_table_of_titles_it_is_told_where_it_should_be(made: ModuleType, tmp_path: Path) -> None:
    made.write_memoryagentbench(tmp_path)
    (tmp_path / "entity2id.json").unlink()
    said = refused(tmp_path)
    place = tmp_path / "entity2id.json"
    assert (
        f"Test_Time_Learning-00000-of-00001.parquet:6: answers[0]: the answers are numbers of films; entity2id.json, "
        f"which names them, is not at {place}"
    ) in said
    assert said.count("numbers of films") == 1
    place.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert f"{place} is no table of titles: this is a Git LFS pointer" in refused(tmp_path)
    place.write_text('{"Alien": 2}')
    assert "answers[0]: no film has the number 1 in entity2id.json" in refused(tmp_path)


def test_answers_that_are_titles_need_no_table(made: ModuleType, tmp_path: Path) -> None:
    row = made.hub_row("recsys_redial_full", "Dialogue 1", ["User: Hi."], [["Alien", "Heat"]])
    [episode] = load(made.write(tmp_path / "x.parquet", [row], made.HUB), "test")
    assert episode.questions[0].answers == ("Alien", "Heat")


def test_labels_lose_their_box(streams: dict[str, Episode]) -> None:
    assert [question.answers for question in of(streams, "nlu").questions] == [("1",), ("2",)]


def test_a_summary_has_its_key_points(streams: dict[str, Episode]) -> None:
    [question] = of(streams, "infbench_sum").questions
    assert question.keywords == ("Ada goes to sea.", "Ada returns.")
    assert question.answers == ("Ada goes to sea and returns.",)


def test_the_benchmarks_ids_are_kept_where_they_tell_questions_apart(streams: dict[str, Episode]) -> None:
    assert [question.id for question in of(streams, "nlu").questions] == [
        "icl_nlu_8296shot_balance_no0",
        "icl_nlu_8296shot_balance_no1",
    ]
    assert of(streams, "ruler_qa2").questions[0].id == "ruler_qa2_421K-2-q000"


def test_a_question_without_a_reference_is_left_out_and_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = list(load(folder, "Conflict_Resolution"))
    assert [len(episode.questions) for episode in found] == [1, 1, 1, 1]
    assert "4 left out, as they cannot be read or scored: question 1 of row 1 has no reference;" in caplog.text


def test_reading_twice_gives_equal_streams(folder: Path, streams: dict[str, Episode]) -> None:
    assert list(BENCHMARKS["memoryagentbench"](str(folder), "test")) == list(streams.values())


def test_every_fault_of_every_file_is_told_at_once(made: ModuleType, tmp_path: Path) -> None:
    good = made.hub_rows()["Conflict_Resolution"][0]
    typed = made.hub_row("longmemeval_s*", "x", ["?", "??"], [["a"], ["b"]], question_types=["multi-session"])
    bad = [
        good,
        made.hub_row("factconsolidatoin_sh_6k", "facts", ["?"], [["a"]]),
        made.hub_row("factconsolidation_sh_6k", " ", ["?"], [["a"]]),
        {**good, "answers": [["a"]]},
        {**good, "questions": ["?", " "], "answers": [["a"], ["b"]]},
        typed,
        {**good, "questions": None},
        {**good, "metadata": None},
    ]
    made.write(tmp_path / "Conflict_Resolution.parquet", bad, made.HUB)
    made.write(tmp_path / "Test_Time_Learning.parquet", [{**good, "context": None}], made.HUB)
    said = refused(tmp_path)
    for expected in (
        'Conflict_Resolution.parquet:2: metadata.source: "factconsolidatoin_sh_6k" is no source. Did you mean',
        "Conflict_Resolution.parquet:3: context: is empty",
        "Conflict_Resolution.parquet:4: answers: 1 answers to 2 questions",
        "Conflict_Resolution.parquet:5: questions[1]: is empty",
        "Conflict_Resolution.parquet:6: metadata.question_types: 1 entries for 2 questions",
        "Conflict_Resolution.parquet:7: questions: expected a list, found null",
        "Conflict_Resolution.parquet:8: metadata: expected an object, found null",
        "Test_Time_Learning.parquet:1: context: expected text, found null",
    ):
        assert expected in said
    assert "Conflict_Resolution.parquet:1:" not in said


def test_an_empty_folder_says_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no Accurate_Retrieval-00000-of-00001\.parquet\. .* hf download ai-hyz/"):
        find(tmp_path, "test")
