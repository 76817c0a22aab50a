"""Where files can be kept: a folder, or what fsspec reaches by a URL."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from finemem_pipeline.beside import beside
from finemem_pipeline.errors import FinememError


class StoreError(FinememError):
    """The place where data is kept cannot be reached, read or written."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file in a place."""

    size: int  # bytes
    changed: float  # seconds since 1970


class Place(Protocol):
    """Files by key: what follows the base, in parts joined by '/'. All methods raise StoreError."""

    base: str

    def files(self, key: str) -> dict[str, Kept]:
        """The file of that key, or all files below it."""

    def read(self, key: str) -> bytes | None:
        """What a small file holds; None where there is none."""

    def get(self, files: Mapping[str, Path]) -> None:
        """Brings each to its path."""

    def put(self, files: Mapping[str, Path]) -> None:
        """Puts each, whole or not at all."""

    def write(self, key: str, content: bytes) -> None:
        """Puts a small file."""

    def remove(self, keys: Sequence[str]) -> None:
        """Those of them that are there."""


def place(base: str) -> Place:
    """The files below a folder or a URL."""
    return Objects(base) if is_url(base) else Mount(base)


def is_url(base: str) -> bool:
    return "://" in base


class Mount:
    """A folder, which may be a volume that several machines share."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._root = Path(base)

    def files(self, key: str) -> dict[str, Kept]:
        with self._told(key):
            top = self._root / key
            found = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
            seen = {path.relative_to(self._root).as_posix(): path.stat() for path in found if path.suffix != ".part"}
        return {each: Kept(stat.st_size, stat.st_mtime) for each, stat in seen.items()}

    def read(self, key: str) -> bytes | None:
        with self._told(key):
            try:
                return (self._root / key).read_bytes()
            except FileNotFoundError:
                return None

    def get(self, files: Mapping[str, Path]) -> None:
        for key, path in files.items():
            with self._told(key):
                shutil.copyfile(self._root / key, path)

    def put(self, files: Mapping[str, Path]) -> None:
        for key, path in files.items():
            with self._told(key), beside(self._root / key) as part:
                shutil.copyfile(path, part)
                with part.open("rb") as written:
                    os.fsync(written.fileno())

    def write(self, key: str, content: bytes) -> None:
        with self._told(key), beside(self._root / key) as part:
            part.write_bytes(content)

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            with self._told(key):
                (self._root / key).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
            raise StoreError(
                f"{self._root / key}: {error.strerror} ({error.filename}). `data` in conf/<env>/globals.yml must name "
                "a folder that this user may read and write; is the volume mounted?"
            ) from error


class Objects:
    """What is below a URL that fsspec knows. Retries are the library's, credentials come from the environment."""

    def __init__(self, base: str) -> None:
        import fsspec

        self.base = base.rstrip("/")
        with self._told(""):
            # Other machines write there too: what was listed a minute ago says nothing.
            self._files, self._root = fsspec.url_to_fs(self.base, use_listings_cache=False)

    def files(self, key: str) -> dict[str, Kept]:
        with self._told(key):
            try:
                found = self._files.find(self._at(key), detail=True)
            except FileNotFoundError as error:
                if not _no_bucket(error):
                    return {}
                raise
        cut = len(self._root) + 1
        return {name[cut:]: Kept(info["size"], _changed(info)) for name, info in found.items()}

    def read(self, key: str) -> bytes | None:
        with self._told(key):
            try:
                content: bytes = self._files.cat_file(self._at(key))
            except FileNotFoundError as error:
                if not _no_bucket(error):
                    return None
                raise
        return content

    def get(self, files: Mapping[str, Path]) -> None:
        if files:
            with self._told(os.path.commonpath(files)):
                self._files.get([self._at(key) for key in files], [str(path) for path in files.values()])

    def put(self, files: Mapping[str, Path]) -> None:
        if files:
            with self._told(os.path.commonpath(files)):
                self._files.put([str(path) for path in files.values()], [self._at(key) for key in files])

    def write(self, key: str, content: bytes) -> None:
        with self._told(key):
            self._files.pipe_file(self._at(key), content)

    def remove(self, keys: Sequence[str]) -> None:
        if keys:
            with self._told(keys[0]):
                try:
                    self._files.rm([self._at(key) for key in keys])
                except FileNotFoundError as error:  # none of them was there
                    if _no_bucket(error):
                        raise

    def _at(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Says of a fault what it was about, and what to do."""
        try:
            yield
        except FinememError:
            raise
        except ImportError as error:
            raise StoreError(f"{self.base}: {error}. For s3:// install finemem_pipeline[s3].") from error
        except Exception as error:
            advice = _advice(error, self.base)
            if advice is None:
                raise
            raise StoreError(f"{self.base}/{key}: {advice} ({type(error).__name__}: {error})") from error


def _no_bucket(error: FileNotFoundError) -> bool:
    return "bucket does not exist" in str(error)


def _changed(info: Mapping[str, Any]) -> float:
    """When, in seconds since 1970; backends do not call it alike."""
    stamp: Any = info.get("LastModified") or info.get("mtime") or info.get("created") or 0.0
    return float(stamp.timestamp() if hasattr(stamp, "timestamp") else stamp)


_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
_NO_ANSWER = {
    *("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "SSLError"),
    *("HTTPClientError", "ProxyConnectionError", "FSTimeoutError"),
}
"""Of botocore and fsspec, told by name: neither is imported where nothing is kept in an object store."""


def _advice(error: Exception, base: str) -> str | None:
    """What to do about a fault of an object store; None where the fault is this disk's or the program's."""
    name, bucket = type(error).__name__, base.partition("://")[2].partition("/")[0]
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "the default endpoint"
    user = os.environ.get("AWS_ACCESS_KEY_ID") or "the role of this machine"
    kinds = {
        f"{endpoint} has no bucket '{bucket}'. Create it, or name another in conf/<env>/globals.yml (`data`)": (
            isinstance(error, FileNotFoundError) and _no_bucket(error)
        ),
        "no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine or pod a role; they are "
        "taken from the environment alone": name in _NO_CREDENTIALS,
        f"{endpoint} refuses it to {user}. Is the secret right, and may it list the bucket '{bucket}' and get, put and "
        "delete objects in it?": isinstance(error, PermissionError) and error.filename is None,
        f"{endpoint} cannot be reached. Is it up, and is AWS_ENDPOINT_URL right?": (
            isinstance(error, ConnectionError | TimeoutError) or name in _NO_ANSWER
        ),
        "no such kind of place. `data` in conf/<env>/globals.yml is a folder or a URL like s3://bucket/prefix": (
            isinstance(error, ValueError) and "rotocol" in str(error)
        ),
        "a file that was there a moment ago is gone. Does another process delete it?": (
            isinstance(error, FileNotFoundError) and error.filename is None
        ),
        f"{endpoint} did not do it": name == "ClientError" or (isinstance(error, OSError) and error.errno is None),
    }
    return next((advice for advice, fits in kinds.items() if fits), None)
