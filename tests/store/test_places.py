from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from s3fs import S3FileSystem

from finemem_pipeline.store.places import Kept, Place, StoreError, place


class _InBetween(BaseHTTPRequestHandler):
    """Passes requests on to the server behind it, but for those that it is told to refuse."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = self.server.told
        told.seen.append(f"{self.command} {self.path}")
        if told.answers:
            status, text = told.answers.pop(0)
            self._reply(status, {"Content-Type": "application/xml"}, text.encode())
            return
        behind = http.client.HTTPConnection(told.behind, timeout=60)
        behind.request(self.command, self.path, body, dict(self.headers))
        answer = behind.getresponse()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OWN}
        self._reply(answer.status, headers, answer.read(), answer.getheader("Content-Length"))

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def _reply(self, status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def forget() -> None:
    """fsspec remembers its clients, and with them what the environment said."""
    S3FileSystem.clear_instance_cache()


_OWN = {"content-length", "transfer-encoding", "connection"}


class InBetween:
    """A server between this machine and the store: what it was asked, and what it answers in the store's place."""

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.seen: list[str] = []
        self.answers: list[tuple[int, str]] = []


@pytest.fixture
def between(s3_environment: dict[str, str], s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[InBetween]:
    told = InBetween(urlsplit(s3_environment["AWS_ENDPOINT_URL"]).netloc)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _InBetween)
    server.daemon_threads = True
    server.told = told
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    forget()
    yield told
    forget()
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["bucket", "folder"])
def kept(request: pytest.FixtureRequest, s3: str, tmp_path: Path) -> Place:
    """An empty place of either kind."""
    return place(s3 if request.param == "bucket" else str(tmp_path / "volume"))


def file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_was_put_is_got(kept: Place, tmp_path: Path) -> None:
    sent = {"06_models/a/weights": file(tmp_path / "a", "12345"), "06_models/b": file(tmp_path / "b", "")}
    kept.put(sent)
    assert {key: each.size for key, each in kept.files("06_models").items()} == {
        "06_models/a/weights": 5,
        "06_models/b": 0,
    }
    (tmp_path / "got").mkdir()
    kept.get({"06_models/a/weights": tmp_path / "got" / "a", "06_models/b": tmp_path / "got" / "b"})
    assert [(tmp_path / "got" / name).read_text() for name in "ab"] == ["12345", ""]


def test_a_file_of_megabytes_comes_back_as_it_was(kept: Place, tmp_path: Path) -> None:
    content = bytes(range(256)) * (64 * 1024)  # 16 MiB: in several parts
    (tmp_path / "big").write_bytes(content)
    kept.put({"big": tmp_path / "big"})
    kept.get({"big": tmp_path / "again"})
    assert (tmp_path / "again").read_bytes() == content


def test_small_files_are_written_read_and_removed(kept: Place) -> None:
    assert kept.read("x/list") is None
    kept.write("x/list", b"1")
    kept.write("x/list", b"22")
    assert kept.read("x/list") == b"22"
    assert kept.files("x/list") == {"x/list": Kept(2, kept.files("x")["x/list"].changed)}
    kept.remove(["x/list", "x/never"])
    kept.remove(["x/list"])
    kept.remove([])
    assert kept.files("x") == {}


def test_names_that_only_begin_alike_are_not_below(kept: Place) -> None:
    kept.write("run-1/a", b"")
    kept.write("run-10/a", b"")
    assert list(kept.files("run-1")) == ["run-1/a"]


def test_a_list_is_never_an_old_one(s3: str) -> None:
    one, other = place(s3), place(s3)
    assert one.files("x") == {}
    other.write("x/a", b"")
    assert list(one.files("x")) == ["x/a"]


def test_a_missing_bucket_is_named_with_the_endpoint(s3: str, s3_environment: dict[str, str], tmp_path: Path) -> None:
    elsewhere = place("s3://no-such-bucket/data")
    for ask in (
        lambda: elsewhere.write("x", b""),
        lambda: elsewhere.read("x"),
        lambda: elsewhere.files("x"),
        lambda: elsewhere.put({"x": file(tmp_path / "x", "")}),
    ):
        with pytest.raises(StoreError) as told:
            ask()
        server = s3_environment["AWS_ENDPOINT_URL"]
        assert f"s3://no-such-bucket/data/x: {server} has no bucket 'no-such-bucket'. Create it" in str(told.value)


def test_missing_credentials_are_asked_for(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    forget()
    with pytest.raises(StoreError, match=r"x: no credentials\. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        place(s3).write("x", b"")


DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


def test_a_refused_request_names_the_key_the_user_and_the_rights(s3: str, between: InBetween) -> None:
    between.answers = [(403, DENIED)]
    with pytest.raises(StoreError) as told:
        place(s3).write("06_models/x", b"")
    message = str(told.value)
    assert message.startswith(f"{s3}/06_models/x: http://127.0.0.1:")
    assert "refuses it to finemem. Is the secret right, and may it list the bucket 'finemem' and get, put" in message


def test_a_server_that_is_not_there_is_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget()
    with pytest.raises(StoreError, match=r"x: http://127\.0\.0\.1:9 cannot be reached\. Is it up, and is AWS_ENDPOINT"):
        place(s3).write("x", b"")


def test_a_store_that_is_busy_for_a_moment_is_asked_again(s3: str, between: InBetween, tmp_path: Path) -> None:
    busy = (503, "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>")
    between.answers = [busy, busy]
    kept = place(s3)
    kept.put({"x": file(tmp_path / "x", "1")})
    between.answers = [busy]
    assert kept.read("x") == b"1"
    assert [request.split()[0] for request in between.seen] == ["PUT"] * 3 + ["HEAD"] * 2 + ["GET"]


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("s4://bucket/data", "no such kind of place"),
        ("gs://bucket/data", "Please install gcsfs"),
    ],
)
def test_a_place_that_cannot_be_used_is_told(base: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        place(base)


def test_a_volume_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="must name a folder that this user may read and write; is the volume mounted"):
        place(str(tmp_path / "file")).write("x", b"")


def test_a_full_disk_here_is_no_fault_of_the_store(s3: str) -> None:
    kept = place(s3)
    kept.write("x", b"1")
    with pytest.raises(OSError, match="No space left on device"):
        kept.get({"x": Path("/dev/full")})
