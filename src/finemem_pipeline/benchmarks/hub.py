"""Where a benchmark's files lie: a folder, a file, or a data set of the Hugging Face hub.

A data set is named `owner/name@commit`. Only such a name starts a download, once, into the hub's cache. A name without
its commit is refused: data sets are corrected in place, and a table must be about the same rows tomorrow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from finemem_pipeline.benchmarks.faults import guess, listing
from finemem_pipeline.errors import DataError

_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>.*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(path: str | Path, patterns: Sequence[str]) -> Path:
    """The folder or file behind `path`; of a data set of the hub, the files that match `patterns` are fetched.

    Raises DataError if there is nothing there, the revision is no commit, or the data set cannot be had.
    """
    found = Path(path)
    if found.exists():
        return found
    named = _ID.fullmatch(str(path))
    if named is None or named["revision"] is None:
        folder = found.parent
        there = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
        hint = f" {_pinned(named['name'])}" if named and not folder.is_dir() else ""
        raise DataError(f"{path}: no such file or folder.{guess(found.name, there)}{listing(folder, there)}{hint}")
    if not _COMMIT.fullmatch(named["revision"]):
        raise DataError(f"{path}: '{named['revision']}' is no commit and may move. {_pinned(named['name'])}")
    return _download(named["name"], named["revision"], patterns)


def find(folder: Path, split: str) -> list[Path]:
    """The files of a split in the folder or in its `data`: `split.parquet`, or shards `split-00000-of-….parquet`."""
    for place in (folder, folder / "data"):
        whole = place / f"{split}.parquet"
        shards = sorted(place.glob(f"{split}-*.parquet"))
        if whole.is_file() and shards:
            raise DataError(f"{place}: both {whole.name} and {shards[0].name} are there; remove what is out of date.")
        if whole.is_file() or shards:
            return [whole] if whole.is_file() else shards
    return []


def download_command(name: str, revision: str = "COMMIT") -> str:
    """What to type to fetch a data set into a folder."""
    return f"hf download {name} --repo-type dataset --revision {revision} --local-dir FOLDER"


def _pinned(name: str) -> str:
    return (
        f"A data set of the Hugging Face hub is named with its commit, {name}@ and 40 hexadecimal digits; "
        f"its commits are listed at https://huggingface.co/datasets/{name}/commits/main."
    )


def _download(name: str, revision: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=list(patterns)))
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
        if isinstance(error, LocalEntryNotFoundError):
            why = "HF_HUB_OFFLINE is set, and it is not in the cache" if offline else "the hub cannot be reached"
        else:
            why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{name}@{revision}: cannot be fetched: {why}. Where there is a network, run "
            f"{download_command(name, revision)} and name FOLDER instead."
        ) from error
