from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.faults import SHOWN
from finemem_pipeline.benchmarks.realbench import dump, load, locate, read_episodes, write_episodes
from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.errors import DataError


def row(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "instance_id": "s-0",
        "data_source": "squad",
        "task_type": "CR",
        "chunks": [
            {"chunk_id": "c00", "text": "Rubber Soul is by The Beatles.", "timestamp": "monday"},
            {"chunk_id": "c01", "text": "Rubber Soul is by Madonna."},
        ],
        "questions": [
            {
                "question_id": "q0",
                "question": "Who performed Rubber Soul?",
                "answers": ["Madonna"],
                "metric": "sub_em",
                "evidence_chunk_ids": ["c01"],
                "stale_chunk_ids": ["c00"],
                "category": "update",
                "stale_answers": ["The Beatles"],
            }
        ],
        "chunk_questions": [
            {
                "question_id": "k0",
                "chunk_id": "c00",
                "question": "Who sang it?",
                "answers": ["The Beatles"],
                "metric": "sub_em",
            }
        ],
        "license": "MIT",
        "meta": {"anything": [1, None]},
    }
    return {**base, **changes}


def written(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in rows))
    return path


def faults(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(path, "train")
    return str(caught.value)


def test_a_row_becomes_an_episode_with_places_for_ids(tmp_path: Path) -> None:
    [episode] = load(written(tmp_path / "a.jsonl", row()), "train")
    assert episode == Episode(
        "s-0",
        "squad",
        "CR",
        (
            Chunk(
                0,
                "Rubber Soul is by The Beatles.",
                (Question("k0", "Who sang it?", ("The Beatles",), evidence=(0,)),),
                "monday",
            ),
            Chunk(1, "Rubber Soul is by Madonna."),
        ),
        (Question("q0", "Who performed Rubber Soul?", ("Madonna",), evidence=(1,), stale=(0,), kind="update"),),
    )


def test_gzip_is_told_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain.jsonl.gz", row())
    packed = tmp_path / "packed.jsonl"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(load(plain, "train")) == list(load(packed, "train"))


def test_a_folder_gives_the_file_of_the_split_and_a_file_gives_itself(tmp_path: Path) -> None:
    written(tmp_path / "train.jsonl", row())
    (tmp_path / "test.jsonl.gz").write_bytes(gzip.compress(json.dumps(row(instance_id="t-0")).encode()))
    assert [episode.id for episode in BENCHMARKS["realbench"](tmp_path, "train")] == ["s-0"]
    assert [episode.id for episode in BENCHMARKS["realbench"](str(tmp_path), "test")] == ["t-0"]
    assert [episode.id for episode in BENCHMARKS["realbench"](tmp_path / "train.jsonl", "test")] == ["s-0"]


def test_a_missing_split_says_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    written(tmp_path / "tran.jsonl", row())
    with pytest.raises(DataError, match=r"no train\.jsonl or train\.jsonl\.gz .* Did you mean 'tran\.jsonl'\?"):
        locate(tmp_path, "train")
    with pytest.raises(DataError, match=r"no such file or folder\. Did you mean 'tran\.jsonl'\?"):
        locate(tmp_path / "train.jsonl", "train")


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "train.jsonl", row())
    written(tmp_path / "train.jsonl.gz", row())
    with pytest.raises(DataError, match=r"both train.jsonl and train.jsonl.gz are there"):
        locate(tmp_path, "train")


def test_every_bad_row_is_reported_at_once_with_line_field_and_reason(tmp_path: Path) -> None:
    question = row()["questions"][0]
    path = written(
        tmp_path / "bad.jsonl",
        row(),
        '{"instance_id": "cut off',
        row(instance_id="a", task_type="ar"),
        row(instance_id="b", chunks=[{"chunk_id": "c00", "text": "  "}]),
        row(instance_id="c", questions=[{**question, "metric": "sub_emm", "answers": [3]}]),
        row(instance_id="d", questions=[{**question, "evidence_chunk_ids": ["c07"]}]),
        row(instance_id="e", chunks=[{"chunk_id": "c00", "text": "x"}, {"chunk_id": "c00", "text": "y"}], questions=[]),
        row(instance_id="f", chunk_questons=[]),
        row(),
        row(instance_id="g", questions=[{**question, "metric": "keyword_recall"}]),
        row(instance_id="h", questions=[{**question, "answers": []}]),
        row(instance_id="i", chunks=[{"chunk_id": "c00", "text": "half \ud800"}], questions=[], chunk_questions=[]),
        "[1, 2]",
    )
    said = faults(path)
    assert said.startswith(f"{path}: 13 faults in 12 rows, nothing was read.")
    for expected in (
        "bad.jsonl:2: not JSON: Unterminated string",
        "bad.jsonl:3: task_type: 'ar' is not a known task.",
        "bad.jsonl:4: chunks[0].text: is empty",
        "bad.jsonl:5: questions[0].metric: 'sub_emm' is not a known metric. Did you mean 'sub_em'?",
        "bad.jsonl:5: questions[0].answers[0]: expected text, found 3",
        "bad.jsonl:6: questions[0].evidence_chunk_ids: 'c07' is no chunk of this row. Did you mean",
        "bad.jsonl:7: chunks[1].chunk_id: 'c00' is already the id of chunks[0]",
        "bad.jsonl:8: chunk_questons: is not a field of the schema. Did you mean 'chunk_questions'?",
        "bad.jsonl:9: instance_id: 's-0' already stands on line 1",
        "bad.jsonl:10: questions[0]: keyword_recall needs a list of keywords",
        "bad.jsonl:11: questions[0].answers: is empty, expected at least one",
        "bad.jsonl:12: chunks[0].text: holds a lone surrogate",
        "bad.jsonl:13: expected an object, found [1, 2]",
    ):
        assert expected in said


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    without = row()
    del without["chunks"][1]["text"]
    assert "bad.jsonl:1: chunks[1].text: is missing" in faults(written(tmp_path / "bad.jsonl", without))


def test_a_long_list_of_faults_is_cut_and_counted(tmp_path: Path) -> None:
    said = faults(written(tmp_path / "bad.jsonl", *["nonsense"] * (SHOWN + 7)))
    assert said.count("bad.jsonl:") == SHOWN + 1  # the head names the file, too
    assert said.endswith("… and 7 more")


def test_bytes_that_are_no_text_are_located(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(row()).encode() + b'\n{"instance_id": "caf\xe9"}\n')
    assert "latin.jsonl:2: not UTF-8: byte 0xe9 at column 21" in faults(path)


def test_a_gzip_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps(row(instance_id=f"s-{i}")) + "\n" for i in range(50)).encode())
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    assert "the gzip data is damaged or cut off here" in faults(path)


def test_a_pointer_instead_of_the_data_is_recognised(tmp_path: Path) -> None:
    path = written(tmp_path / "train.jsonl", "version https://git-lfs.github.com/spec/v1", "size 12")
    assert "train.jsonl:1: this is a Git LFS pointer" in faults(path)


def test_an_empty_file_is_no_data_set(tmp_path: Path) -> None:
    assert "has no rows" in faults(written(tmp_path / "train.jsonl"))
    assert read_episodes(tmp_path / "train.jsonl") == []


def test_nesting_without_end_is_a_fault_not_a_crash(tmp_path: Path) -> None:
    assert "nested too deeply" in faults(written(tmp_path / "deep.jsonl", "[" * 200_000))


def test_ids_that_repeat_within_a_stream_are_told_apart(tmp_path: Path) -> None:
    question = row()["questions"][0]
    own = {**row()["chunk_questions"][0], "question_id": "q0"}
    [episode] = load(written(tmp_path / "a.jsonl", row(questions=[question, question], chunk_questions=[own])), "dev")
    assert [each.id for each in episode.questions] == ["q0", "q0#2"]
    assert episode.chunks[0].questions[0].id == "q0#3"


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)


@st.composite
def episodes(draw: st.DrawFn) -> Episode:
    steps = draw(st.integers(1, 4))
    place = st.lists(st.integers(0, steps - 1), unique=True).map(lambda found: tuple(sorted(found)))
    count = iter(range(1000))

    def question(until: int | None = None) -> Question:
        return Question(
            until=until,
            id=f"q{next(count)}",
            text=draw(texts),
            answers=tuple(draw(st.lists(texts, min_size=1, max_size=2))),
            metric=draw(st.sampled_from(["sub_em", "label_em", "keyword_recall"])),
            evidence=draw(place),
            stale=draw(place),
            keywords=tuple(draw(st.lists(texts, min_size=1, max_size=2))),
            kind=draw(st.sampled_from(["", "bridge"])),
        )

    chunks = tuple(
        Chunk(
            t,
            draw(texts),
            tuple(
                question(draw(st.sampled_from([None, *range(t + 1, steps)]))) for _ in range(draw(st.integers(0, 2)))
            ),
            draw(st.none() | texts),
        )
        for t in range(steps)
    )
    asked = tuple(question() for _ in range(draw(st.integers(0, 3))))
    return Episode(draw(texts), "made up", draw(st.sampled_from(["AR", "TTL", "LRU", "CR"])), chunks, asked)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(episodes(), max_size=3, unique_by=lambda episode: episode.id), st.sampled_from(["x.jsonl", "x.jsonl.gz"])
)
def test_what_is_written_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, streams: list[Episode], name: str
) -> None:
    path = tmp_path_factory.mktemp("round") / name
    write_episodes(path, streams)
    assert read_episodes(path) == streams


def test_equal_streams_give_equal_bytes_and_leave_nothing_beside(tmp_path: Path) -> None:
    streams = list(load(written(tmp_path / "in.jsonl", row()), "train"))
    for name in ("a", "b"):
        write_episodes(tmp_path / name / "train.jsonl.gz", streams)
    assert (tmp_path / "a/train.jsonl.gz").read_bytes() == (tmp_path / "b/train.jsonl.gz").read_bytes()
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["train.jsonl.gz"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("old")

    def breaking() -> Any:
        yield next(iter(load(written(tmp_path / "in.jsonl", row()), "train")))
        raise RuntimeError("out of streams")

    with pytest.raises(RuntimeError, match=r"out of streams"):
        write_episodes(path, breaking())
    assert path.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.jsonl", "train.jsonl"]


def test_real_streams_survive_the_round_trip(realbench: Path, tmp_path: Path) -> None:
    streams = list(load(realbench, "dev"))
    assert len(streams) == 24
    assert sum(len(episode.questions) for episode in streams) == 697
    assert sum(len(chunk.questions) for episode in streams for chunk in episode.chunks) == 315
    write_episodes(tmp_path / "dev.jsonl.gz", streams)
    assert list(load(tmp_path, "dev")) == streams


def test_a_chunk_question_names_the_chunk_that_replaces_its_answer(tmp_path: Path) -> None:
    own = row()["chunk_questions"][0]
    [episode] = load(written(tmp_path / "a.jsonl", row(chunk_questions=[{**own, "until_chunk_id": "c01"}])), "train")
    assert episode.chunks[0].questions[0].until == 1
    assert dump(episode)["chunk_questions"][0]["until_chunk_id"] == "c01"
    said = faults(written(tmp_path / "b.jsonl", row(chunk_questions=[{**own, "until_chunk_id": "c7"}])))
    assert "chunk_questions[0].until_chunk_id: 'c7' is no chunk of this row." in said
    said = faults(written(tmp_path / "c.jsonl", row(chunk_questions=[{**own, "until_chunk_id": own["chunk_id"]}])))
    assert f"'{own['chunk_id']}' is not later than the question's own chunk" in said


def test_a_chunk_question_may_name_other_evidence_than_its_chunk() -> None:
    chunks = (Chunk(0, "a"), Chunk(1, "b", (Question("k", "?", ("x",)), Question("l", "?", ("x",), evidence=(0, 1)))))
    record = dump(Episode("s", "x", "AR", chunks, ()))
    assert [each.get("evidence_chunk_ids") for each in record["chunk_questions"]] == [[], ["c00", "c01"]]
