"""The tracking server of the manifests, started as they start it, on this machine."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time

import pytest

NAMES = ("mlflow", "mlflow.finemem", "mlflow.finemem.svc", "mlflow.finemem.svc.cluster.local", "localhost")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, host: str, path: str = "/api/2.0/mlflow/experiments/search?max_results=1") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


def await_health(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 300  # what the startup probe gives it
    while time.monotonic() < until:
        assert server.poll() is None, "the server has ended"
        try:
            if ask(port, f"10.0.0.1:{port}", "/health") == 200:  # the kubelet names the address of the pod
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("no answer in time")


@pytest.fixture
def server(sites, tmp_path):
    """(port, store): the command of the container, with its volume in a temporary folder and a port that is free."""
    [deployment] = [
        each for each in sites["dev"] if each["kind"] == "Deployment" and each["metadata"]["name"] == "mlflow"
    ]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    port, store, elsewhere = free_port(), tmp_path / "mlflow", tmp_path / "app"
    store.mkdir()
    elsewhere.mkdir()
    given = {each["name"]: each["value"].replace("/mlflow/", f"{store}/") for each in container["env"]}
    given["MLFLOW_SERVER_ALLOWED_HOSTS"] = given["MLFLOW_SERVER_ALLOWED_HOSTS"].replace("5000", str(port))
    arguments = [each.replace("5000", str(port)).replace("/mlflow/", f"{store}/") for each in container["args"]]
    environment = {**os.environ, **given, "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"}
    assert container["command"] == ["mlflow", "server"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *arguments], cwd=elsewhere, env=environment, start_new_session=True
    )
    try:
        await_health(process, port)
        yield port, store
    finally:
        process.terminate()
        process.wait(60)
    assert list(elsewhere.iterdir()) == []  # the root file system of the pod cannot be written


@pytest.mark.slow
def test_it_answers_to_its_names_and_keeps_runs_and_files_on_its_volume(server, monkeypatch, tmp_path):
    port, store = server
    for name in NAMES:
        assert ask(port, name) == 200
        assert ask(port, f"{name}:{port}") == 200
    assert ask(port, "mlflow.elsewhere.example") == 403

    from mlflow import MlflowClient

    client = MlflowClient(f"http://127.0.0.1:{port}")
    run = client.create_run(client.create_experiment("finemem")).info.run_id
    client.log_metric(run, "train/reward/total", 0.5, step=1)
    report = tmp_path / "report.html"
    report.write_text("<p>all is well</p>", encoding="utf-8")
    client.log_artifact(run, str(report))
    assert client.get_run(run).data.metrics == {"train/reward/total": 0.5}
    kept = next(store.rglob("report.html"))
    assert kept.is_relative_to(store / "artifacts")
    assert (store / "mlflow.db").is_file()
