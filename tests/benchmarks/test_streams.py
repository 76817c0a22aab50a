from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.benchmarks.realbench import write_episodes
from finemem_pipeline.benchmarks.streams import divide, limited, read_sets
from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.errors import DataError


def stream(name: str, source: str = "squad") -> Episode:
    return Episode(name, source, "AR", (Chunk(0, "text"),), ())


def streams(count: int) -> list[Episode]:
    return [stream(f"s{n}") for n in range(count)]


def ids(episodes) -> list[str]:
    return [episode.id for episode in episodes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_episodes(tmp_path / "train.jsonl", [stream("a1"), stream("b1", "mquake"), stream("a2"), stream("a3")])
    write_episodes(tmp_path / "dev.jsonl.gz", [stream("d1"), stream("d2", "mquake")])
    write_episodes(tmp_path / "test.jsonl", [stream("t1", "mquake")])
    return tmp_path


def test_a_folder_gives_its_three_files(folder):
    sets = read_sets("realbench", folder)
    assert {split: ids(episodes) for split, episodes in sets.items()} == {
        "train": ["a1", "b1", "a2", "a3"],
        "dev": ["d1", "d2"],
        "test": ["t1"],
    }


def test_only_the_sources_asked_for_are_kept(folder):
    sets = read_sets("realbench", folder, sources=["mquake"])
    assert {split: ids(episodes) for split, episodes in sets.items()} == {
        "train": ["b1"],
        "dev": ["d2"],
        "test": ["t1"],
    }


def test_a_source_that_is_not_there_is_told_with_the_nearest_one(folder):
    with pytest.raises(DataError, match=r"data\.sources: 'sqad' is not a known source.*Did you mean 'squad'"):
        read_sets("realbench", folder, sources=["mquake", "sqad"])


def test_limits_are_per_split(folder):
    sets = read_sets("realbench", folder, limits={"train": 2, "test": 5})
    assert {split: ids(episodes) for split, episodes in sets.items()} == {
        "train": ["a1", "b1"],
        "dev": ["d1", "d2"],
        "test": ["t1"],
    }


def test_the_faults_of_all_files_are_told_together(folder):
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"instance_id": "x"}) + "\n")
    with pytest.raises(DataError) as told:
        read_sets("realbench", folder)
    assert "train.jsonl:1: data_source: is missing" in str(told.value)
    assert "test.jsonl:1: data_source: is missing" in str(told.value)


def test_a_single_file_is_divided(tmp_path):
    write_episodes(tmp_path / "all.jsonl.gz", streams(20))
    sets = read_sets("realbench", tmp_path / "all.jsonl.gz")
    assert {split: len(episodes) for split, episodes in sets.items()} == {"train": 16, "dev": 2, "test": 2}


@given(st.integers(3, 60))
def test_every_stream_lands_in_one_set_and_the_same_one_again(count):
    episodes = streams(count)
    sets = divide(episodes, Path("all.jsonl"))
    assert sorted(ids([*sets["train"], *sets["dev"], *sets["test"]])) == sorted(ids(episodes))
    assert all(len(sets[split]) >= 1 for split in ("train", "dev", "test"))
    assert sets == divide(episodes, Path("all.jsonl"))


@pytest.mark.parametrize(("count", "sizes"), [(3, [1, 1, 1]), (10, [8, 1, 1]), (30, [24, 3, 3])])
def test_the_shares_are_80_10_10_and_at_least_one_stream(count, sizes):
    assert [len(episodes) for episodes in divide(streams(count), Path("all.jsonl")).values()] == sizes


def test_too_few_streams_cannot_be_divided():
    with pytest.raises(DataError, match=r"all\.jsonl: 2 streams in a single file; train, dev and test need one each"):
        divide(streams(2), Path("all.jsonl"))


def test_a_limit_is_spread_over_the_sources_in_the_order_of_the_file():
    mixed = [
        stream("a1", "a"),
        stream("a2", "a"),
        stream("a3", "a"),
        stream("b1", "b"),
        stream("c1", "c"),
        stream("b2", "b"),
    ]
    assert ids(limited(mixed, 3)) == ["a1", "b1", "c1"]
    assert ids(limited(mixed, 5)) == ["a1", "a2", "b1", "c1", "b2"]
    assert limited(mixed, 6) == limited(mixed, None) == mixed


@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(1, 25))
def test_no_source_gets_two_more_than_another_that_has_some_left(sources, most):
    episodes = [stream(f"{n}", source) for n, source in enumerate(sources)]
    kept = limited(episodes, most)
    assert len(kept) == min(most, len(episodes))
    counts = {source: sum(each.source == source for each in kept) for source in set(sources)}
    short = [counts[source] for source in counts if counts[source] < sources.count(source)]
    assert not short or max(counts.values()) <= min(short) + 1
