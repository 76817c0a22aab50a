"""Which nodes share a pod, and what may pass between pods and launcher."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from finemem_pipeline.datasets import JsonDataset
from finemem_pipeline.grouping import (
    Crossing,
    GroupingError,
    crossings,
    groups,
    inputs_digest,
    location,
    parameters_digest,
    reaches_pods,
    stuck_data,
)


def a_node(name: str, inputs: str, outputs: str, namespace: str | None = None) -> Node:
    """Inputs and outputs are data sets, separated by blanks."""
    return Node(lambda *values: values, inputs.split(), outputs.split(), name=name, namespace=namespace)


SMALL = Pipeline(
    [
        a_node("read", "raw params:data", "streams"),
        a_node("warm", "streams params:training", "weights", "train"),
        a_node("learn", "streams weights", "policy", "train"),
        a_node("judge", "policy", "table"),
    ]
)


def test_a_namespace_is_a_group_and_every_other_node_stays_with_the_launcher():
    found = groups(SMALL)
    assert list(found) == ["read", "train", "judge"]
    assert found["train"].nodes == ("train.warm", "train.learn")
    assert found["train"].after == {"read"}
    assert [group.in_pod for group in found.values()] == [False, True, False]


def test_groups_that_wait_for_each_other_are_refused_with_the_data_that_makes_them_wait():
    with pytest.warns(UserWarning, match="interrupted"):
        circle = Pipeline(
            [a_node("one", "raw", "a", "left"), a_node("two", "a", "b", "right"), a_node("three", "b", "c", "left")]
        )
    with pytest.raises(GroupingError) as told:
        groups(circle)
    assert "right needs 'a' of left (left.one -> right.two)" in str(told.value)
    assert "left needs 'b' of right (right.two -> left.three)" in str(told.value)


def test_what_enters_or_leaves_a_pod_is_told_with_a_pair_of_nodes():
    assert list(crossings(SMALL)) == [
        Crossing("streams", "read", "train.warm"),
        Crossing("policy", "train.learn", "judge"),
    ]


def test_an_input_of_a_pod_and_an_output_that_nobody_reads_cross_too():
    alone = SMALL.only_nodes("train.warm", "train.learn")
    assert [(each.name, str(each)) for each in crossings(alone)] == [
        ("streams", "there before the run -> train.warm"),
        ("policy", "train.learn -> kept for later"),
    ]


def catalog(folder: Path, **places: str) -> DataCatalog:
    return DataCatalog({name: JsonDataset(filepath=str(folder / path)) for name, path in places.items()})


def test_data_in_memory_cannot_reach_a_pod(tmp_path):
    [fault] = stuck_data(SMALL, catalog(tmp_path, policy="data/policy.json"), tmp_path / "data")
    assert fault.startswith("'streams' (read -> train.warm) is kept in memory")
    assert "Give it an entry in the catalog" in fault


def test_a_file_reaches_a_pod_if_it_is_on_the_volume_that_both_see(tmp_path):
    files = catalog(tmp_path, streams="data/streams.json", policy="data/policy.json")
    assert stuck_data(SMALL, files, tmp_path / "data") == []
    first, second = stuck_data(SMALL, files, None)
    assert f"'streams' (read -> train.warm) is at {tmp_path}/data/streams.json, on this machine alone" in first
    assert "no shared volume is configured" in first
    assert "globals.yml" in first
    assert "'policy' (train.learn -> judge)" in second
    assert len(stuck_data(SMALL, files, tmp_path / "other")) == 2


class Elsewhere(MemoryDataset):
    """A data set as kedro-datasets describe theirs."""

    def __init__(self, **described: str) -> None:
        super().__init__()
        self._EPHEMERAL = False
        self.described = described

    def _describe(self):
        return self.described


@pytest.mark.parametrize(
    ("described", "place", "reaches"),
    [
        ({"filepath": "bucket/a.json", "protocol": "s3"}, "s3://bucket/a.json", True),
        ({"filepath": "s3://bucket/a.json"}, "s3://bucket/a.json", True),
        ({"filepath": "/elsewhere/a.json", "protocol": "file"}, "/elsewhere/a.json", False),
        ({"filepath": "file:///elsewhere/a.json"}, "file:///elsewhere/a.json", False),
    ],
)
def test_an_object_store_is_reached_from_everywhere_and_a_file_of_this_machine_is_not(described, place, reaches):
    assert location(Elsewhere(**described)) == place
    assert reaches_pods(place, Path("data")) is reaches


def test_a_store_in_memory_is_reached_from_nowhere_and_a_table_on_a_server_from_everywhere():
    sets = DataCatalog({"streams": Elsewhere(filepath="memory://a.json"), "policy": Elsewhere(table="policies")})
    [fault] = stuck_data(SMALL, sets, None)
    assert "'streams'" in fault
    assert "ends with the process" in fault


def test_the_digests_change_with_the_parameters_and_the_files_that_the_nodes_read(tmp_path):
    train = SMALL.only_nodes("train.warm", "train.learn")

    def digests(steps: int, streams: str, data: int = 0) -> tuple[str, str]:
        sets = catalog(tmp_path, streams="streams.json", policy="policy.json")
        sets["params:training"] = MemoryDataset({"steps": steps})
        sets["params:data"] = MemoryDataset({"limit": data})
        (tmp_path / "streams.json").write_text(streams)
        return parameters_digest(train, sets), inputs_digest(train, sets)

    first = digests(1, "[]")
    assert digests(1, "[]", data=5) == first  # no parameter of these nodes
    assert digests(2, "[]")[0] != first[0]
    assert digests(1, "[1]") == (first[0], digests(2, "[1]")[1])
    assert digests(1, "[1]")[1] != first[1]


def test_a_file_that_is_not_there_yet_has_a_digest_too(tmp_path):
    sets = catalog(tmp_path, streams="streams.json")
    missing = inputs_digest(SMALL.only_nodes("train.warm"), sets)
    (tmp_path / "streams.json").write_text("[]")
    assert inputs_digest(SMALL.only_nodes("train.warm"), sets) != missing
