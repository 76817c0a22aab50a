from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.locomo import find, load
from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.errors import DataError
from finemem_pipeline.reasoning.labels import searched


@pytest.fixture(scope="module")
def folder(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_locomo(tmp_path_factory.mktemp("locomo"))


@pytest.fixture(scope="module")
def first(folder: Path) -> Episode:
    return next(load(folder, "test"))


def refused(path: Path, split: str = "test") -> str:
    with pytest.raises(DataError) as caught:
        load(path, split)
    return str(caught.value)


def test_one_chunk_is_one_session_in_the_order_of_their_numbers(first: Episode) -> None:
    assert first.chunks == (
        Chunk(
            0,
            "[Conversation on 1:56 pm on 8 May, 2023]\n"
            "Caroline: Hey Zoë! I went to a group yesterday.\n"
            "Zoë: Look at this. [shares a photo: a photo of a dog]",
            (),
            "1:56 pm on 8 May, 2023",
        ),
        Chunk(
            1,
            "[Conversation on 1:00 pm on 9 May, 2023]\nZoë: [shares a photo: a photo of a bowl]\nCaroline: Nice!",
            (),
            "1:00 pm on 9 May, 2023",
        ),
        Chunk(
            2,
            "[Conversation on 9:00 am on 2 June, 2023]\nZoë: My dog Rex came in 2022 ☕.",
            (),
            "9:00 am on 2 June, 2023",
        ),
    )


def test_turns_named_as_evidence_become_sessions_however_they_are_written(first: Episode) -> None:
    assert [question.evidence for question in first.questions[:5]] == [(0, 1), (0,), (2,), (2,), (2,)]


def test_questions_have_the_kind_reference_and_metric_of_their_category(first: Episode) -> None:
    assert [(q.kind, q.metric, q.answers) for q in first.questions[:5]] == [
        ("multi_hop", "token_f1", ("a group, a dog",)),
        ("temporal", "token_f1", ("7 May 2023",)),
        ("open_domain", "token_f1", ("Likely no",)),
        ("single_hop", "token_f1", ("2022",)),
        ("adversarial", "sub_em", ("not mentioned", "no information available")),
    ]


def test_a_question_without_an_answer_is_a_choice_and_its_place_changes(first: Episode) -> None:
    assert [question.text.partition("How to answer: ")[2] for question in first.questions[4:]] == [
        "Reply with one of these two: (a) Rex (b) Not mentioned in the conversation",
        "Reply with one of these two: (a) Not mentioned in the conversation (b) a bowl",
        'If the conversation does not tell, say "Not mentioned in the conversation".',
    ]


def test_how_to_answer_is_not_searched_for(first: Episode) -> None:
    assert searched(first.questions[1].text) == "When did Caroline go to the group?"
    assert searched(first.questions[4].text) == "What is the name of Caroline's dog?"


def test_a_session_without_a_date_has_no_time(folder: Path) -> None:
    last = list(load(folder, "test"))[-1]
    assert last.chunks == (Chunk(0, "Bo: I sold my boat."),)


def test_the_file_by_itself_is_read_for_any_split_and_a_folder_for_test(folder: Path) -> None:
    assert list(load(folder / "locomo10.json", "train")) == list(BENCHMARKS["locomo"](str(folder), "test"))
    said = refused(folder, "train")
    assert f"LoCoMo has no split 'train'. Name the file itself, {folder / 'locomo10.json'}, to have" in said


def test_the_folder_of_the_repository_will_do(made: ModuleType, tmp_path: Path) -> None:
    made.write_locomo(tmp_path / "data")
    assert find(tmp_path, "test") == [tmp_path / "data" / "locomo10.json"]


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "locomo1.json").write_text("[]")
    said = refused(tmp_path)
    assert "no locomo10.json. Did you mean 'locomo1.json'?" in said
    assert "data/locomo10.json of https://github.com/snap-research/locomo" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\nsize 1\n", "this is a Git LFS pointer"),
        (b"", "the file is empty"),
        (b"<html>", "this is a web page, not the data"),
        (b'[{"sample_id": "conv-26", "qa": [{"ques', "not JSON, or cut off: Unterminated string"),
        (b"\xff\xfe\xfd", "not JSON, or cut off: "),
        (b"[]", "expected a list of conversations, found []"),
        (b"[" * 100_000, "not usable JSON: nested too deeply"),
    ],
)
def test_what_stands_in_place_of_the_data_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "locomo10.json"
    file.write_bytes(content)
    message = refused(file)
    assert message.startswith(f"{file}: {said}")
    assert "https://github.com/snap-research/locomo" in message


def test_every_fault_is_told_at_once(made: ModuleType, tmp_path: Path) -> None:
    def sample(turns: Any = None, *asked: Any) -> dict[str, Any]:
        turn = {"speaker": "Bo", "dia_id": "D1:1", "text": "Hi."}
        return {"sample_id": "x", "conversation": {"session_1": [turn] if turns is None else turns}, "qa": list(asked)}

    bad = [
        sample(),
        "conv-1",
        {"sample_id": "x", "conversation": []},
        sample([]),
        sample("Hi."),
        sample(["Hi.", {"dia_id": "D1:1", "text": "Hi."}, {"speaker": "Bo", "text": 3}]),
        sample(
            None, "?", {"question": 3, "answer": "a", "category": 1}, {"question": "q", "answer": "a", "category": 6}
        ),
        sample(None, {"question": "q", "category": 1}, {"question": "q", "answer": None, "category": 2}),
        {**sample(), "qa": {}},
    ]
    file = tmp_path / "locomo10.json"
    file.write_text(json.dumps(bad))
    said = refused(file)
    for expected in (
        'locomo10.json:2: expected an object, found "conv-1"',
        "locomo10.json:3: qa: is missing",
        "locomo10.json:3: conversation: expected an object, found []",
        "locomo10.json:4: conversation: holds no session_1, session_2, … with turns",
        'locomo10.json:5: conversation.session_1: expected a list of turns, found "Hi."',
        'locomo10.json:6: conversation.session_1[0]: expected an object, found "Hi."',
        "locomo10.json:6: conversation.session_1[1].speaker: expected text, found null",
        "locomo10.json:6: conversation.session_1[2].text: expected text, found 3",
        'locomo10.json:7: qa[0]: expected an object, found "?"',
        "locomo10.json:7: qa[1].question: expected text, found 3",
        "locomo10.json:7: qa[2].category: expected 1 to 5, found 6",
        "locomo10.json:8: qa[0].answer: is missing",
        "locomo10.json:8: qa[1].answer: expected text, found null",
        "locomo10.json:9: qa: expected a list, found {}",
    ):
        assert expected in said
    assert "locomo10.json:1:" not in said
