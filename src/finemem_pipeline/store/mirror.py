"""The data folder of this project, and the place where it is kept.

Files are put whole. A folder that must be whole (a checkpoint, weights) ends with its list, `.whole.json`: names, sizes
and digests, put last and deleted first. Without its list it is not there; what does not fit its list is damaged.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finemem_pipeline.errors import FinememError
from finemem_pipeline.store.places import Kept, Place, StoreError, is_url, place

FOLDER = "data"
"""Of the project: where nodes work."""
WHOLE = ".whole.json"
WRITER = ".writer.json"
PROBE = ".reachable"


class Damaged(StoreError):
    """A folder is not what its list says."""


class Superseded(FinememError):
    """Another process has taken up a folder that this one was writing."""


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """The data folder of a project, and where it is kept."""

    folder: Path
    place: Place

    def key(self, path: Path) -> str | None:
        """Its key, if it lies in the data folder."""
        full = Path(os.path.abspath(path))
        inside = full != self.folder and full.is_relative_to(self.folder)
        return full.relative_to(self.folder).as_posix() if inside else None

    def must(self, path: Path) -> str:
        key = self.key(path)
        if key is None:
            raise StoreError(f"{path}: lies outside {self.folder}, and what is outside is not kept in {self.base}.")
        return key

    @property
    def base(self) -> str:
        return self.place.base


_elsewhere: _Elsewhere | None = None
_claims: dict[str, str] = {}


@contextlib.contextmanager
def kept_in(base: str, project: Path) -> Iterator[None]:
    """Within it the project's data folder is kept there. Does nothing where that is the folder itself."""
    global _elsewhere  # noqa: PLW0603 - one process works for one project
    folder = Path(os.path.abspath(project)) / FOLDER
    before = _elsewhere
    here = not is_url(base) and Path(os.path.abspath(project / base)) == folder
    _elsewhere = None if here else _Elsewhere(folder, place(base if is_url(base) else str(project / base)))
    try:
        yield
    finally:
        _elsewhere = before


def elsewhere() -> bool:
    """Whether data is kept in another place than the data folder."""
    return _elsewhere is not None


def can_keep(path: Path) -> bool:
    """Whether what is written there is kept: it need not be in the data folder where that is the place itself."""
    return _elsewhere is None or _elsewhere.key(path) is not None


def check() -> None:
    """Raises StoreError where nothing can be written or listed."""
    if _elsewhere is not None:
        _elsewhere.place.write(PROBE, b"finemem_pipeline looks here whether it may write\n")
        _elsewhere.place.files(PROBE)


def told(path: Path) -> str:
    """Where a person finds it: the path on this disk, or its URL."""
    key = None if _elsewhere is None else _elsewhere.key(path)
    return str(Path(path).resolve()) if _elsewhere is None or key is None else f"{_elsewhere.base}/{key}"


def there(path: Path) -> bool:
    """Whether the other place holds it, a file or a folder with files."""
    key = None if _elsewhere is None else _elsewhere.key(path)
    return _elsewhere is not None and key is not None and bool(_elsewhere.place.files(key))


def put(*paths: Path) -> None:
    """Files, and the files of folders."""
    if _elsewhere is None:
        return
    files = {}
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file():
                files[_elsewhere.must(file)] = file
    _elsewhere.place.put(files)
    for file in files.values():
        os.utime(file)  # not older than what is there: `fetch` need not bring it back


def fetch(path: Path) -> None:
    """The file, or the files of the folder, as far as they are not here yet or newer there."""
    key = None if _elsewhere is None else _elsewhere.key(path)
    if _elsewhere is None or key is None:
        return
    with _alone(_elsewhere.folder):
        found = _elsewhere.place.files(key)
        wanted = {each: _elsewhere.folder / each for each, kept in found.items() if not _hidden(each)}
        _bring(_elsewhere, {each: to for each, to in wanted.items() if _differs(to, found[each])})


def fetch_matching(folder: Path, name: str) -> None:
    """`<folder>/*/<name>` of all folders there: a small file of each."""
    key = None if _elsewhere is None else _elsewhere.key(folder)
    if _elsewhere is None or key is None:
        return
    with _alone(_elsewhere.folder):
        found = [each for each in _elsewhere.place.files(key) if each.removeprefix(f"{key}/").count("/") == 1]
        wanted = {each: _elsewhere.folder / each for each in found if each.endswith(f"/{name}")}
        _bring(_elsewhere, {each: to for each, to in wanted.items() if not to.exists()})


@contextlib.contextmanager
def keeping(path: Path) -> Iterator[None]:
    """Fetches it, and puts it when the block ends, well or not."""
    fetch(path)
    with leaving(path):
        yield


@contextlib.contextmanager
def leaving(path: Path) -> Iterator[None]:
    """Puts what the block has left there when it ends, well or not."""
    try:
        yield
    finally:
        if path.exists():
            put(path)


def put_whole(folder: Path) -> None:
    """A folder that is there with all its files, or not at all."""
    if _elsewhere is None:
        return
    key, files = _elsewhere.must(folder), sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in files}
    listed = _listing({name: {"bytes": path.stat().st_size, "sha256": _digest(path)} for path, name in names.items()})
    _elsewhere.place.remove([f"{key}/{WHOLE}"])
    _elsewhere.place.put({f"{key}/{name}": path for path, name in names.items()})
    _elsewhere.place.write(f"{key}/{WHOLE}", listed)
    _note(folder).write_bytes(listed)


def put_again(folder: Path) -> bool:
    """Puts a whole folder that is not there; whether that was so."""
    if _elsewhere is None or _elsewhere.place.read(f"{_elsewhere.must(folder)}/{WHOLE}") is not None:
        return False
    put_whole(folder)
    return True


def fetch_whole(folder: Path) -> bool:
    """A folder that was put whole, unless it is here; whether it is here then. Raises Damaged."""
    key = None if _elsewhere is None else _elsewhere.key(folder)
    if _elsewhere is None or key is None:
        return folder.exists()
    with _alone(_elsewhere.folder):
        listed = _elsewhere.place.read(f"{key}/{WHOLE}")
        noted = _note(folder).read_bytes() if _note(folder).exists() else None
        if listed is None or (folder.exists() and noted in (None, listed)):
            return folder.exists()
        files = json.loads(listed)["files"]
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            _get(_elsewhere.place, {f"{key}/{name}": part / name for name in files})
            for name, wanted in files.items():
                if (part / name).stat().st_size != wanted["bytes"] or _digest(part / name) != wanted["sha256"]:
                    raise Damaged(
                        f"{_elsewhere.base}/{key}/{name}: is not what was put there. Two processes may have written "
                        f"it at once; delete {_elsewhere.base}/{key} and run again what made it."
                    )
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        _note(folder).write_bytes(listed)
    return True


def whole(folder: Path) -> list[Path]:
    """The folders below it that were put whole."""
    key = None if _elsewhere is None else _elsewhere.key(folder)
    if _elsewhere is None or key is None:
        return []
    return [_elsewhere.folder / each[: -len(WHOLE) - 1] for each in _elsewhere.place.files(key) if _ends_whole(each)]


def drop(folder: Path) -> None:
    """Deletes a folder there; the list goes first."""
    key = None if _elsewhere is None else _elsewhere.key(folder)
    if _elsewhere is None or key is None:
        return
    found = list(_elsewhere.place.files(key))
    _elsewhere.place.remove([each for each in found if _ends_whole(each)])
    _elsewhere.place.remove([each for each in found if not _ends_whole(each)])
    _note(folder).unlink(missing_ok=True)


def claim(folder: Path) -> None:
    """From here on this process writes the folder; another one that did stops at its next `claimed`."""
    if _elsewhere is None:
        return
    key, token = _elsewhere.must(folder), uuid.uuid4().hex
    _claims[key] = token
    told = {"token": token, "host": socket.gethostname(), "process": os.getpid()}
    _elsewhere.place.write(f"{key}/{WRITER}", json.dumps(told).encode())


def claimed(folder: Path) -> None:
    """Raises Superseded if another process has claimed the folder since."""
    if _elsewhere is None:
        return
    key = _elsewhere.must(folder)
    found = json.loads(_elsewhere.place.read(f"{key}/{WRITER}") or b"{}")
    if found.get("token", _claims.get(key)) != _claims.get(key):
        raise Superseded(
            f"{_elsewhere.base}/{key}: process {found['process']} on {found['host']} has gone on with this very run. "
            "It is left to it; nothing more is written from here."
        )


def _ends_whole(key: str) -> bool:
    return key.endswith(f"/{WHOLE}")


def _hidden(key: str) -> bool:
    return key.rpartition("/")[2] in (WHOLE, WRITER, PROBE)


def _note(folder: Path) -> Path:
    """Beside a folder: the list it was put or fetched with."""
    return folder.with_name(f".{folder.name}{WHOLE}")


def _listing(files: Mapping[str, Any]) -> bytes:
    return json.dumps({"files": files}, indent=1, sort_keys=True).encode()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _differs(path: Path, kept: Kept) -> bool:
    """Whether the one here is missing, of another size, or older."""
    if not path.is_file():
        return True
    stat = path.stat()
    return stat.st_size != kept.size or stat.st_mtime < kept.changed


def _bring(elsewhere: _Elsewhere, files: Mapping[str, Path]) -> None:
    """Each beside its path, then all renamed."""
    if not files:
        return
    with tempfile.TemporaryDirectory(dir=elsewhere.folder, prefix=".fetched.") as scratch:
        parts = {key: Path(scratch) / key for key in files}
        _get(elsewhere.place, parts)
        for key, path in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(parts[key], path)


def _get(place: Place, files: Mapping[str, Path]) -> None:
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    place.get(files)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Processes of one machine fetch one after the other: the second one finds it there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".fetching.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
