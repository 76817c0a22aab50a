from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.validation.describe import describe_inputs


def test_a_file_is_told_by_digest_bytes_rows_and_fields(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl.gz"
    lines = b'{"a": 1, "b": [{"c": "x"}], "meta": {"deep": 1}}\n{"a": null, "b": []}\n'
    path.write_bytes(gzip.compress(lines))
    described = describe_inputs("mine", [path], {})
    [file] = described["files"]
    assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file["bytes"] == path.stat().st_size == described["bytes"]
    assert file["rows"] == 2
    assert file["schema"] == {
        "a": ["null", "number"],
        "b": ["list"],
        "b[]": ["object"],
        "b[].c": ["text"],
        "meta": ["object"],
    }


def test_the_digest_of_the_whole_depends_on_every_file_and_not_on_their_order(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.parquet"):
        (tmp_path / name).write_text("{}\n")
    files = [tmp_path / "a.jsonl", tmp_path / "b.parquet"]
    before = describe_inputs("mine", files, {})["sha256"]
    assert describe_inputs("mine", reversed(files), {})["sha256"] == before
    (tmp_path / "b.parquet").write_text("{} \n")
    assert describe_inputs("mine", files, {})["sha256"] != before
    assert "rows" not in describe_inputs("mine", files, {})["files"][1]


def test_sets_are_counted_by_source() -> None:
    streams = list(generate(PlantedSpec(train=3, corrections=0.0, two_step=0.0), "train"))
    counted = describe_inputs("planted", [], {"train": streams, "dev": []})["sets"]
    numbers = {"streams": 3, "chunks": 9, "questions": 18, "chunk_questions": 18}
    numbers["characters"] = sum(len(chunk.text) for episode in streams for chunk in episode.chunks)
    assert counted["train"] == {**numbers, "sources": {"planted": numbers}}
    assert counted["dev"]["streams"] == 0
