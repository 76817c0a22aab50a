"""What is told of files that are not what they should be, whichever benchmark they are of."""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType

import pytest

from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.parquet import columns_of, read_rows
from finemem_pipeline.errors import DataError

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 31234567\n"
)
FETCH = {
    "memalpha": "hf download YuWangX/Memalpha --repo-type dataset --revision COMMIT --local-dir FOLDER",
    "memoryagentbench": "hf download ai-hyz/MemoryAgentBench --repo-type dataset --revision COMMIT --local-dir FOLDER",
}


def refused(name: str, file: Path) -> str:
    with pytest.raises(DataError) as caught:
        BENCHMARKS[name](file, "test")
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(FETCH))
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (POINTER.encode(), "this is a Git LFS pointer, a few lines that name the data, not the data (git lfs pull"),
        (b"", "the file is empty"),
        (b"<!DOCTYPE html>\n<html>", "this is a web page, not the data"),
        (b'{"instance_id": 1}\n', "this is no parquet file: it begins with b'{\"in', not b'PAR1'"),
        (b"PAR1PAR1", "the file is cut off: it begins as parquet and has no end after 8 bytes"),
    ],
)
def test_what_stands_in_place_of_the_data_is_named_and_how_to_get_it(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    file = tmp_path / "test.parquet"
    file.write_bytes(content)
    message = refused(name, file)
    assert message.startswith(f"{file}: {said}")
    assert FETCH[name] in message


@pytest.mark.parametrize("name", sorted(FETCH))
@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_told_so(made: ModuleType, tmp_path: Path, name: str, share: float) -> None:
    rows, schema = {
        "memalpha": (made.memalpha_rows(), None),
        "memoryagentbench": (made.hub_rows()["Test_Time_Learning"], made.HUB),
    }[name]
    file = made.write(tmp_path / "test.parquet", rows, schema)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    message = refused(name, file)
    assert "the file is cut off: it begins as parquet and has no end after" in message
    assert FETCH[name] in message


def test_missing_columns_are_named_with_what_is_there(made: ModuleType, tmp_path: Path) -> None:
    rows = [
        {("question_and_answers" if key == "questions_and_answers" else key): value for key, value in row.items()}
        for row in made.memalpha_rows()
    ]
    for row in rows:
        del row["data_source"]
    message = refused("memalpha", made.write(tmp_path / "x.parquet", rows))
    assert "columns questions_and_answers, data_source missing. Did you mean 'question_and_answers'?" in message
    assert "Found: instance_id, prompt, chunks, question_and_answers, metadata, num_chunks, num_questions." in message
    rows = [
        {key: value for key, value in row.items() if key != "answers"} for row in made.hub_rows()["Conflict_Resolution"]
    ]
    message = refused("memoryagentbench", made.write(tmp_path / "y.parquet", rows))
    assert "column answers missing. Needed: context, questions, answers, metadata." in message


def test_damage_in_the_middle_is_told_with_its_row(made: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    noise = random.Random(0)
    table = made.pa.Table.from_pylist([{"text": noise.randbytes(200).hex()} for _ in range(50)])
    made.pq.write_table(table, file, row_group_size=10, compression="gzip", use_dictionary=False)
    place = made.pq.ParquetFile(file).metadata.row_group(2).column(0).data_page_offset
    content = bytearray(file.read_bytes())
    content[place + 2000 : place + 2100] = b"\xff" * 100
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet:21: the data is damaged from this row on .*Get it\."):
        list(read_rows(file, ["text"], [], "Get it."))


def test_a_damaged_description_of_the_columns_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(b"PAR1" + b"\x07" * 40 + (30).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(DataError, match="the description of its columns is damaged"):
        columns_of(file, "Get it.")


def test_optional_columns_may_be_missing(made: ModuleType, tmp_path: Path) -> None:
    file = made.write(tmp_path / "x.parquet", [{"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": 6}])
    assert list(read_rows(file, ["a"], ["c", "d"], "")) == [(1, {"a": 1, "c": 3}), (2, {"a": 4, "c": 6})]


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.parquet: cannot be read: No such file or directory\."):
        columns_of(tmp_path / "gone.parquet", "")
