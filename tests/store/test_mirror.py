from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from finemem_pipeline import store
from finemem_pipeline.store.mirror import WHOLE
from finemem_pipeline.store.places import Mount, Objects, place


@pytest.fixture(params=["bucket", "folder"])
def base(request: pytest.FixtureRequest, s3: str, tmp_path: Path) -> str:
    """Where data is kept."""
    return s3 if request.param == "bucket" else str(tmp_path / "volume")


class Machine:
    """A project that keeps its data there."""

    def __init__(self, base: str, folder: Path) -> None:
        self.base = base
        self.folder = folder

    def works(self):
        return store.kept_in(self.base, self.folder)

    def path(self, name: str) -> Path:
        return self.folder / "data" / name

    def write(self, name: str, text: str) -> Path:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)
        return self.path(name)

    def files(self) -> dict[str, str]:
        top = self.folder / "data"
        found = [path for path in top.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return {path.relative_to(top).as_posix(): path.read_text() for path in found}


@pytest.fixture
def one(base: str, tmp_path: Path) -> Machine:
    return Machine(base, tmp_path / "one")


@pytest.fixture
def other(base: str, tmp_path: Path) -> Machine:
    return Machine(base, tmp_path / "other")


@pytest.mark.parametrize("base", ["data", "./data"])
def test_data_that_is_kept_in_its_folder_is_never_copied(base: str, tmp_path: Path) -> None:
    file = Machine(base, tmp_path).write("06_models/run/weights", "1")
    with store.kept_in(base, tmp_path):
        assert not store.elsewhere()
        store.check()
        store.put(file)
        store.put_whole(file.parent)
        store.claim(file.parent)
        store.claimed(file.parent)
        store.fetch(tmp_path / "data" / "no")
        assert store.fetch_whole(file.parent)
        assert not store.fetch_whole(tmp_path / "data" / "no")
        assert (store.whole(tmp_path / "data"), store.there(file)) == ([], False)
        assert store.told(file) == str(file.resolve())
        store.drop(file.parent)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "06_models", "run", "weights"]


def test_what_one_machine_puts_another_one_fetches(one: Machine, other: Machine) -> None:
    with one.works():
        store.put(one.write("06_models/run/metrics.jsonl", "1\n"), one.write("08_reporting/docs/a.html", "").parent)
    with other.works():
        assert store.there(other.path("08_reporting/docs"))
        for name in ("06_models/run/metrics.jsonl", "08_reporting", "07_model_output/never"):
            store.fetch(other.path(name))
    assert other.files() == {"06_models/run/metrics.jsonl": "1\n", "08_reporting/docs/a.html": ""}


def test_the_place_holds_files_under_their_own_names(one: Machine, base: str) -> None:
    with one.works():
        store.put(one.write("06_models/run/metrics.jsonl", "1\n"))
        assert store.told(one.path("06_models/run/metrics.jsonl")) == f"{base}/06_models/run/metrics.jsonl"
    assert place(base).read("06_models/run/metrics.jsonl") == b"1\n"


def test_only_what_changed_is_fetched_again(one: Machine, other: Machine) -> None:
    with one.works():
        store.put(one.write("a", "1"), one.write("b", "1"))
    with other.works():
        store.fetch(other.path("a"))
        store.fetch(other.path("b"))
        before = {name: other.path(name).stat().st_ino for name in "ab"}
    with one.works():
        store.put(one.write("b", "22"))
        store.fetch(one.path("b"))
    with other.works():
        store.fetch(other.path("a"))
        store.fetch(other.path("b"))
    assert other.files() == {"a": "1", "b": "22"}
    assert [other.path(name).stat().st_ino == before[name] for name in "ab"] == [True, False]


def test_what_a_block_leaves_is_put_even_if_it_fails(one: Machine, other: Machine) -> None:
    cache = one.path("04_feature/questions.sqlite")
    with one.works(), pytest.raises(ValueError, match="half way"), store.keeping(cache):  # noqa: PT012
        one.write("04_feature/questions.sqlite", "paid for")
        raise ValueError("half way")
    with other.works(), store.keeping(other.path("04_feature/questions.sqlite")):
        assert other.files() == {"04_feature/questions.sqlite": "paid for"}
    with one.works(), store.leaving(one.path("never")):
        pass


def test_what_lies_outside_the_data_folder_is_not_kept(one: Machine, tmp_path: Path) -> None:
    (tmp_path / "weights").touch()
    with one.works():
        assert not store.can_keep(tmp_path / "weights")
        assert store.can_keep(one.path("weights"))
        store.fetch(tmp_path / "weights")
        with pytest.raises(store.StoreError, match=r"lies outside .*data, and what is outside is not kept in"):
            store.put(tmp_path / "weights")


def test_a_whole_folder_is_there_with_its_list(one: Machine, other: Machine, base: str) -> None:
    with one.works():
        one.write("run/policy/sub/weights", "12345")
        store.put_whole(one.write("run/policy/config", "{}").parent)
    with other.works():
        assert store.whole(other.path("run")) == [other.path("run/policy")]
        assert store.fetch_whole(other.path("run/policy"))
    assert other.files() == {"run/policy/config": "{}", "run/policy/sub/weights": "12345"}
    listed = json.loads(place(base).read(f"run/policy/{WHOLE}") or b"")
    assert {name: file["bytes"] for name, file in listed["files"].items()} == {"config": 2, "sub/weights": 5}


def put_and_die(base: str, project: Path, folder: Path, after: int) -> None:
    """Ends like a machine that loses its power once so many files are there."""
    kind = Objects if "://" in base else Mount

    def put(self, files):
        for done, (key, path) in enumerate(files.items()):
            if done == after:
                os._exit(9)
            whole(self, {key: path})

    whole, kind.put = kind.put, put
    with store.kept_in(base, project):
        store.put_whole(folder)
    os._exit(0)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_upload_never_looks_whole(one: Machine, other: Machine, after: int) -> None:
    names = ["a", "b", "c"]
    for name in names:
        one.write(f"run/checkpoint-2/{name}", "2")
        one.write(f"run/checkpoint-1/{name}", "1")
    with one.works():
        store.put_whole(one.path("run/checkpoint-1"))
    dying = multiprocessing.get_context("spawn").Process(
        target=put_and_die, args=(one.base, one.folder, one.path("run/checkpoint-2"), after)
    )
    dying.start()
    dying.join(120)
    assert dying.exitcode == 9
    with other.works():
        assert store.whole(other.path("run")) == [other.path("run/checkpoint-1")]
        assert not store.fetch_whole(other.path("run/checkpoint-2"))
    with one.works():
        store.put_whole(one.path("run/checkpoint-2"))
    with other.works():
        assert store.fetch_whole(other.path("run/checkpoint-2"))
    assert other.files() == {f"run/checkpoint-2/{name}": "2" for name in names}


def test_a_folder_that_is_put_anew_is_not_whole_meanwhile(one: Machine, other: Machine) -> None:
    with one.works():
        store.put_whole(one.write("policy/weights", "1").parent)
    dying = multiprocessing.get_context("spawn").Process(
        target=put_and_die, args=(one.base, one.folder, one.path("policy"), 0)
    )
    dying.start()
    dying.join(120)
    with other.works():
        assert not store.fetch_whole(other.path("policy"))


def test_a_file_that_does_not_fit_the_list_is_damage(one: Machine, other: Machine, base: str) -> None:
    with one.works():
        store.put_whole(one.write("policy/weights", "right").parent)
    place(base).write("policy/weights", b"wrong")
    with (
        other.works(),
        pytest.raises(store.Damaged, match=r"policy/weights: is not what was put there"),
    ):
        store.fetch_whole(other.path("policy"))
    assert other.files() == {}


def test_what_was_fetched_follows_what_is_there(one: Machine, other: Machine) -> None:
    with one.works():
        store.put_whole(one.write("policy/weights", "1").parent)
    with other.works():
        assert store.fetch_whole(other.path("policy"))
        kept = other.path("policy/weights").stat().st_ino
        assert store.fetch_whole(other.path("policy"))
        assert other.path("policy/weights").stat().st_ino == kept
    with one.works():
        store.put_whole(one.write("policy/weights", "2").parent)
    with other.works():
        assert store.fetch_whole(other.path("policy"))
    assert other.files() == {"policy/weights": "2"}


def test_what_was_made_here_stays_and_is_put_if_it_is_not_there(one: Machine, other: Machine) -> None:
    with one.works():
        one.write("policy/weights", "1")
        assert store.fetch_whole(one.path("policy"))
        assert store.put_again(one.path("policy"))
        assert not store.put_again(one.path("policy"))
    with other.works():
        other.write("policy/weights", "made here")
        assert store.fetch_whole(other.path("policy"))
    assert other.files() == {"policy/weights": "made here"}


def test_a_dropped_folder_is_gone_with_its_list(one: Machine, other: Machine, base: str) -> None:
    with one.works():
        store.put_whole(one.write("run/checkpoint-1/weights", "1").parent)
        store.put_whole(one.write("run/checkpoint-10/weights", "1").parent)
        store.drop(one.path("run/checkpoint-1"))
    assert set(place(base).files("run")) == {f"run/checkpoint-10/{name}" for name in ("weights", WHOLE)}
    with other.works():
        assert not store.fetch_whole(other.path("run/checkpoint-1"))


def test_small_files_of_all_folders_are_fetched_together(one: Machine, other: Machine) -> None:
    with one.works():
        for run in ("a", "b"):
            store.put(one.write(f"06_models/{run}/config.json", run), one.write(f"06_models/{run}/weights", ""))
        store.put(one.write("06_models/a/policy/config.json", "not this one"))
    with other.works():
        store.fetch_matching(other.path("06_models"), "config.json")
    assert other.files() == {"06_models/a/config.json": "a", "06_models/b/config.json": "b"}


def take_over(base: str, project: Path, folder: Path) -> None:
    with store.kept_in(base, project):
        store.claim(folder)
        store.claimed(folder)


def test_who_goes_on_with_a_folder_stops_who_wrote_it_before(one: Machine, other: Machine) -> None:
    with one.works():
        store.claimed(one.path("run"))  # nobody has ever claimed it
        store.claim(one.path("run"))
        store.claimed(one.path("run"))
        process = multiprocessing.get_context("spawn").Process(
            target=take_over, args=(other.base, other.folder, other.path("run"))
        )
        process.start()
        process.join(120)
        assert process.exitcode == 0
        with pytest.raises(store.Superseded, match=rf"process {process.pid} on .* has gone on with this very run"):
            store.claimed(one.path("run"))


def test_a_place_is_looked_at_before_it_is_needed(one: Machine, tmp_path: Path) -> None:
    with one.works():
        store.check()
    (tmp_path / "file").touch()
    with store.kept_in(str(tmp_path / "file"), one.folder), pytest.raises(store.StoreError):
        store.check()
