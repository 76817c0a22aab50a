"""What was read: names, digests, counts and fields, for the record of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finemem_pipeline.benchmarks.files import read_lines
from finemem_pipeline.episodes import Episode

KINDS = {
    str: "text",
    bool: "true/false",
    int: "number",
    float: "number",
    list: "list",
    dict: "object",
    type(None): "null",
}


def describe_inputs(name: str, files: Iterable[Path], sets: Mapping[str, Sequence[Episode]]) -> dict[str, Any]:
    """Name and digest of a data set; bytes, rows and schema of each file; counts of each split and source.

    Rows and schema are told of JSON lines (`.jsonl`, `.jsonl.gz`), of other files digest and bytes alone. The digest
    of the whole is that of the file names and digests, in the order of the names.
    """
    described = [_file(Path(file)) for file in sorted(files, key=lambda file: Path(file).name)]
    whole = "".join(f"{file['name']} {file['sha256']}\n" for file in described)
    return {
        "name": name,
        "sha256": hashlib.sha256(whole.encode()).hexdigest(),
        "bytes": sum(file["bytes"] for file in described),
        "files": described,
        "sets": {split: {**_counts(episodes), "sources": _sources(episodes)} for split, episodes in sets.items()},
    }


def _file(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    described: dict[str, Any] = {
        "name": path.name,
        "path": str(path),
        "sha256": digest.hexdigest(),
        "bytes": path.stat().st_size,
    }
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        fields: dict[str, set[str]] = {}
        rows = 0
        for _, raw in read_lines(path):
            rows += 1
            _collect(json.loads(raw), "", fields)
        described["rows"] = rows
        described["schema"] = {field: sorted(kinds) for field, kinds in sorted(fields.items())}
    return described


def _collect(value: Any, place: str, fields: dict[str, set[str]]) -> None:
    """Add the kind of every field: {"chunks[].text": {"text"}}. The inside of `meta` is the source's own."""
    if place:
        fields.setdefault(place, set()).add(KINDS[type(value)])
    if isinstance(value, dict) and place != "meta":
        for key, each in value.items():
            _collect(each, f"{place}.{key}" if place else key, fields)
    elif isinstance(value, list):
        for each in value:
            _collect(each, f"{place}[]", fields)


def _sources(episodes: Sequence[Episode]) -> dict[str, dict[str, int]]:
    names = sorted({episode.source for episode in episodes})
    return {name: _counts([episode for episode in episodes if episode.source == name]) for name in names}


def _counts(episodes: Sequence[Episode]) -> dict[str, int]:
    return {
        "streams": len(episodes),
        "chunks": sum(len(episode.chunks) for episode in episodes),
        "questions": sum(len(episode.questions) for episode in episodes),
        "chunk_questions": sum(len(chunk.questions) for episode in episodes for chunk in episode.chunks),
        "characters": sum(len(chunk.text) for episode in episodes for chunk in episode.chunks),
    }
