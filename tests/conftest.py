"""What every test may use."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A machine that is busy with other things is no reason to fail.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def realbench() -> Path:
    """The folder of real streams, or the one FINEMEM_REALBENCH names; without it the test is skipped."""
    folder = Path(os.environ.get("FINEMEM_REALBENCH", PROJECT.parent / "shared" / "realbench"))
    if not (folder / "train.jsonl.gz").is_file():
        pytest.skip(f"no real streams at {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of training.random_model."""
    from finemem_pipeline.training.random_model import build

    folder = tmp_path_factory.mktemp("tiny-model")
    build(folder)
    return folder


@pytest.fixture(scope="module")  # not longer: while it is open, nothing else may run an event loop
def browser() -> Iterator[Any]:
    """A headless Chromium of playwright: the one that FINEMEM_BROWSER names, that of the machine, or its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("FINEMEM_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as driver:
        try:
            opened = driver.chromium.launch(executable_path=found)
        except playwright.Error as error:
            pytest.skip(f"no browser can be started: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """The address and the credentials, as they come to a pod, of an S3 server with an empty bucket `finemem`."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    urlopen(Request(f"{address}/finemem", method="PUT")).close()
    keys = {"AWS_ACCESS_KEY_ID": "finemem", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    yield {"AWS_ENDPOINT_URL": address, **keys}
    server.stop()


@pytest.fixture
def s3(s3_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty folder in that bucket, which this process can use."""
    from s3fs import S3FileSystem

    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # its clients know an environment of before
    return f"s3://finemem/{tmp_path.name}"
