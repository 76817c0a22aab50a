"""Images that are not there, and registries that do not say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from finemem_pipeline.cluster.registry import Reference, lacks, reference

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        (f"ghcr.io/us/finemem@{DIGEST}", Reference("ghcr.io", "us/finemem", DIGEST)),
        (f"ghcr.io/us/finemem:1.2@{DIGEST}", Reference("ghcr.io", "us/finemem", DIGEST)),
        ("localhost:5000/finemem:1.2", Reference("localhost:5000", "finemem", "1.2")),
        ("registry.example/finemem", Reference("registry.example", "finemem", "latest")),
        ("finemem-pipeline:0.1.0", None),
        ("us/finemem:0.1.0", None),
    ],
)
def test_an_image_names_its_registry_or_may_be_on_the_nodes(image, parts):
    assert reference(image) == parts


class Registry(BaseHTTPRequestHandler):
    """Has finemem:1; of `shared` it tells those with the token that it gives to all; nobody is told of `private`."""

    def do_HEAD(self) -> None:
        name = self.path.removeprefix("/v2/")
        code = 200 if name.endswith("/manifests/1") and "manifest" in self.headers["Accept"] else 404
        if name.startswith("private") or (
            name.startswith("shared") and self.headers.get("Authorization") != "Bearer everybody's"
        ):
            code = 401
        self.send_response(code)
        if code == 401:
            challenge = f'Bearer realm="http://{self.headers["Host"]}/token",service="it",scope="repository:x:pull"'
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()

    def do_GET(self) -> None:
        assert self.path == "/token?service=it&scope=repository%3Ax%3Apull"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"token": "everybody's"}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("image", "missing"),
    [
        ("finemem:1", False),
        ("finemem:2", True),
        ("shared:1", False),
        ("shared:2", True),
        ("private:1", False),
        ("private:2", False),  # only who logs in could tell
    ],
)
def test_only_a_plain_no_counts(registry, image, missing):
    assert lacks(f"{registry}/{image}") is missing


def test_a_registry_out_of_reach_says_nothing():
    assert lacks("127.0.0.1:1/finemem:1") is False


def test_a_check_up_refuses_a_job_whose_image_is_not_there(cluster, job, registry):
    findings = cluster.check("finemem", [job(image=f"{registry}/finemem:2")])
    assert [f.text for f in findings if f.level == "error" and "image" in f.text] == [
        f"There is no image {registry}/finemem:2: its registry says so. Push it, or mend the name in runner.yml."
    ]
