from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from finemem_pipeline.benchmarks import BENCHMARKS, FINDERS
from finemem_pipeline.benchmarks.hub import find, resolve
from finemem_pipeline.errors import DataError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def refused(path: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        resolve(path, ["*.parquet"])
    return str(caught.value)


def test_a_data_set_without_its_commit_is_refused_with_how_to_pin_it() -> None:
    said = refused("YuWangX/Memalpha")
    assert "YuWangX/Memalpha: no such file or folder." in said
    assert "named with its commit, YuWangX/Memalpha@ and 40 hexadecimal digits" in said
    assert "https://huggingface.co/datasets/YuWangX/Memalpha/commits/main" in said


@pytest.mark.parametrize("revision", ["main", "v1.0", "0123abc", "", COMMIT.upper()])
def test_a_branch_a_tag_or_half_a_commit_does_not_pin(revision: str) -> None:
    assert f"'{revision}' is no commit and may move." in refused(f"YuWangX/Memalpha@{revision}")


def test_a_mistyped_folder_is_not_taken_for_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "memalpha").mkdir()
    said = refused(tmp_path / "memalfa")
    assert said.startswith(f"{tmp_path / 'memalfa'}: no such file or folder. Did you mean 'memalpha'?")
    assert "hub" not in said


def test_offline_it_is_told_how_to_fetch_and_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("outgoing traffic has been disabled")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing)
    said = refused(f"YuWangX/Memalpha@{COMMIT}")
    assert "HF_HUB_OFFLINE is set, and it is not in the cache" in said
    assert f"hf download YuWangX/Memalpha --repo-type dataset --revision {COMMIT} --local-dir FOLDER" in said
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert "the hub cannot be reached" in refused(f"YuWangX/Memalpha@{COMMIT}")


def test_the_real_client_offline_is_refused_in_our_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert "cannot be fetched" in refused(f"nobody/nothing@{COMMIT}")


def test_what_the_hub_says_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> str:
        raise OSError("404: Repository Not Found\nfurther lines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing)
    assert f"YuWangX/Memalfa@{COMMIT}: cannot be fetched: 404: Repository Not Found. Where" in refused(
        f"YuWangX/Memalfa@{COMMIT}"
    )


@pytest.mark.parametrize(
    ("name", "dataset", "streams", "patterns"),
    [
        ("memalpha", "YuWangX/Memalpha", 8, ["*.parquet"]),
        ("memoryagentbench", "ai-hyz/MemoryAgentBench", 16, ["*.parquet", "entity2id.json"]),
        ("memoryagentbench", "YuWangX/Memalpha-Memoryagentbench", 9, ["*.parquet", "entity2id.json"]),
        ("locomo", "someone/locomo", 2, ["*locomo10.json"]),
    ],
)
def test_a_data_set_is_downloaded_at_its_commit_and_read_as_a_folder(
    made: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    dataset: str,
    streams: int,
    patterns: list[str],
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def download(repository: str, **more: Any) -> str:
        calls.append((repository, more))
        kind = "converted" if "Memalpha-M" in repository else name
        getattr(made, f"write_{kind}")(tmp_path)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert len(list(BENCHMARKS[name](Path(f"{dataset}@{COMMIT}"), "test"))) == streams
    assert calls == [(dataset, {"repo_type": "dataset", "revision": COMMIT, "allow_patterns": patterns})]


def test_a_local_folder_asks_nobody(made: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any, **__: Any) -> str:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nobody)
    folder = made.write_memalpha(tmp_path / "owner" / f"name@{COMMIT}")
    monkeypatch.chdir(tmp_path)
    assert [file.name for file in FINDERS["memalpha"](Path("owner") / folder.name, "test")] == ["test.parquet"]


def test_a_file_beside_its_shards_is_ambiguous(made: ModuleType, tmp_path: Path) -> None:
    file = made.write(tmp_path / "test.parquet", [{"a": 1}])
    shutil.copy(file, tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"both test\.parquet and test-00000-of-00001\.parquet are there"):
        find(tmp_path, "test")
