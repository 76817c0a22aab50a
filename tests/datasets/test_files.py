from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog
from kedro.io.core import DatasetError

from finemem_pipeline.datasets import EpisodesDataset, JsonDataset, JsonLinesDataset
from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.store.places import place

STREAM = Episode(
    "s", "x", "AR", (Chunk(0, "Maria's code is 4821."),), (Question("q", "Code?", ("4821",), evidence=(0,)),)
)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (EpisodesDataset, "streams.jsonl", [STREAM]),
        (EpisodesDataset, "streams.jsonl.gz", [STREAM]),
        (EpisodesDataset, "streams.jsonl.gz", []),
        (JsonLinesDataset, "rollouts.jsonl", [{"step": 0, "text": "ß \ud800"}, {"step": 1, "score": None}]),
        (JsonDataset, "report.json", {"warnings": [], "share": 0.5}),
    ],
)
def test_what_is_saved_is_loaded(tmp_path: Path, kind: Any, name: str, value: object) -> None:
    dataset = kind(filepath=str(tmp_path / "deep" / name))
    assert not dataset.exists()
    dataset.save(value)
    assert dataset.exists()
    assert dataset.load() == value
    assert [each.name for each in (tmp_path / "deep").iterdir()] == [name]


def test_a_save_that_fails_keeps_the_file_of_before(tmp_path: Path) -> None:
    dataset = JsonLinesDataset(filepath=str(tmp_path / "rollouts.jsonl"))
    dataset.save([{"step": 0}])

    def breaking() -> Iterator[dict[str, Any]]:
        yield {"step": 1}
        raise RuntimeError("killed")

    with pytest.raises(DatasetError, match="killed"):
        dataset.save(breaking())
    assert dataset.load() == [{"step": 0}]
    assert [each.name for each in tmp_path.iterdir()] == ["rollouts.jsonl"]


def test_a_part_that_was_left_beside_is_never_read(tmp_path: Path) -> None:
    (tmp_path / ".streams.jsonl.abc.part").write_text("{")
    dataset = EpisodesDataset(filepath=str(tmp_path / "streams.jsonl"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="is not there; run the pipeline that writes it first"):
        dataset.load()


def test_damage_is_located(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_text('{"step": 0}\n{"step"\n')
    with pytest.raises(DatasetError, match=r"rollouts\.jsonl:2: not JSON"):
        JsonLinesDataset(filepath=str(path)).load()
    path.write_text("[1]\n")
    with pytest.raises(DatasetError, match=r"rollouts\.jsonl:1: expected an object, found list"):
        JsonLinesDataset(filepath=str(path)).load()
    whole = gzip.compress(b'{"step": 0}\n' * 1000)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="gzip data is damaged or cut off"):
        JsonLinesDataset(filepath=str(path)).load()


def test_a_catalog_builds_them_with_metadata(tmp_path: Path) -> None:
    entry = {"filepath": str(tmp_path / "s.jsonl"), "metadata": {"layer": "primary"}}
    catalog = DataCatalog.from_config({"streams": {"type": "finemem_pipeline.datasets.EpisodesDataset", **entry}})
    catalog.save("streams", [STREAM])
    assert catalog.load("streams") == [STREAM]
    assert catalog["streams"].metadata == {"layer": "primary"}
    assert str(tmp_path / "s.jsonl") in str(catalog["streams"])


def test_where_there_is_no_file_what_was_given_for_that_is_loaded_and_nothing_exists(tmp_path: Path):
    dataset = JsonDataset(filepath=str(tmp_path / "training.json"), absent={})
    assert (dataset.load(), dataset.exists()) == ({}, False)
    dataset.save({"seed": 1})
    assert (dataset.load(), dataset.exists()) == ({"seed": 1}, True)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (EpisodesDataset, "streams.jsonl.gz", [STREAM]),
        (JsonLinesDataset, "rollouts.jsonl", [{"step": 0}]),
        (JsonDataset, "report.json", {"share": 0.5}),
    ],
)
def test_what_is_saved_at_a_url_is_loaded_from_it(s3: str, kind: Any, name: str, value: object) -> None:
    dataset = kind(filepath=f"{s3}/deep/{name}")
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=rf"{s3}/deep/{name} is not there; run the pipeline that writes it first"):
        dataset.load()
    dataset.save(value)
    assert dataset.exists()
    assert dataset.load() == value
    assert list(place(s3).files("")) == [f"deep/{name}"]
    assert kind(filepath=f"{s3}/deep/other-{name}", absent={}).load() == {}


def test_a_save_at_a_url_that_fails_keeps_the_file_of_before(s3: str) -> None:
    dataset = JsonLinesDataset(filepath=f"{s3}/rollouts.jsonl")
    dataset.save([{"step": 0}])

    def breaking() -> Iterator[dict[str, Any]]:
        yield {"step": 1}
        raise RuntimeError("killed")

    with pytest.raises(DatasetError, match="killed"):
        dataset.save(breaking())
    assert dataset.load() == [{"step": 0}]


def test_damage_at_a_url_is_located(s3: str) -> None:
    place(s3).write("rollouts.jsonl", b'{"step": 0}\n{"step"\n')
    place(s3).write("streams.jsonl", b'{"instance_id": 1}\n')
    with pytest.raises(DatasetError, match=rf"{s3}/rollouts\.jsonl:2: not JSON"):
        JsonLinesDataset(filepath=f"{s3}/rollouts.jsonl").load()
    with pytest.raises(DatasetError, match=rf"{s3}/streams\.jsonl"):
        EpisodesDataset(filepath=f"{s3}/streams.jsonl").load()
