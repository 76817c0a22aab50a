"""Finding the cluster, and what is said when it cannot be found."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from finemem_pipeline.cluster import ClusterError, KubernetesCluster, render
from finemem_pipeline.cluster.__main__ import main
from finemem_pipeline.cluster.api import Refusal, Unreachable

PLAN = Path(__file__).parent / "golden" / "one-gpu.yml"
COMMANDS = (
    ["submit", str(PLAN)], ["attach", "name"], ["status"], ["logs", "name"], ["logs", "name", "-f"], ["cancel", "name"],
    ["doctor"],
)  # fmt: skip


@pytest.fixture
def nowhere(tmp_path):
    """A kubeconfig whose server refuses connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return kubeconfig(tmp_path / "config", f"https://127.0.0.1:{port}")


def kubeconfig(path: Path, server: str) -> Path:
    config = {
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
    }
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_names_the_cluster_that_it_could_not_reach(words, nowhere, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--kubeconfig", str(nowhere)]) == 1
    error = capsys.readouterr().err
    assert str(nowhere) in error
    assert "context:    lab" in error
    assert "server:     https://127.0.0.1:" in error
    assert "found:      " in error
    assert "onnection refused" in error
    assert "Start the cluster or the way to it" in error


@pytest.mark.scenario("no cluster reachable")
def test_without_a_cluster_a_command_ends_soon_without_a_traceback(nowhere, tmp_path):
    environment = os.environ | {"KUBECONFIG": str(nowhere)}
    words = [sys.executable, "-m", "finemem_pipeline.cluster", "status"]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{nowhere} (from KUBECONFIG)" in done.stderr


def test_a_server_that_never_answers_is_given_up_after_the_time_it_was_given(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = kubeconfig(tmp_path / "config", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(ClusterError, match=r"no answer within 1 s|timed out"):
            KubernetesCluster.connect(kubeconfig=config, timeout=1.0)
        assert time.monotonic() - began < 30


def test_without_a_kubeconfig_it_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match=r"\.kube/config \(KUBECONFIG is not set\)(.|\n)*not a pod of a cluster"):
        KubernetesCluster.connect()


def test_an_unknown_context_is_told_with_those_that_there_are(nowhere):
    with pytest.raises(ClusterError, match=r"context:    prod(.|\n)*the kubeconfig has: lab"):
        KubernetesCluster.connect(kubeconfig=nowhere, context="prod", timeout=30)


def test_a_kubeconfig_that_is_none_is_no_traceback(tmp_path):
    (tmp_path / "config").write_text("{[")
    with pytest.raises(ClusterError, match=r"the kubeconfig cannot be used"):
        KubernetesCluster.connect(kubeconfig=tmp_path / "config", timeout=30)


def test_busy_servers_are_asked_again_and_refusals_are_final(api, cluster):
    api.fail(2, 503)
    api.fail(1, 429)
    assert cluster.api.request("GET", "/version")["gitVersion"] == "v1.36.0"
    api.requests.clear()
    with pytest.raises(Refusal) as refused:
        cluster.api.request("GET", "/api/v1/namespaces/finemem/pods/none")
    assert (refused.value.code, len(api.requests)) == (404, 1)


def test_a_server_that_says_when_to_come_again_is_left_alone_until_then(api, cluster):
    api.fail(1, 429, after=2)
    began = time.monotonic()
    assert cluster.api.request("GET", "/version")["gitVersion"] == "v1.36.0"
    assert time.monotonic() - began >= 2


def test_whoever_logs_in_again_is_known_again(api, cluster, tmp_path):
    api.token = "new"
    with pytest.raises(Refusal, match="Unauthorized"):
        cluster.api.request("GET", "/version")
    api.kubeconfig(tmp_path / "kubeconfig")
    assert cluster.api.request("GET", "/version")["gitVersion"] == "v1.36.0"


def test_a_server_that_stays_away_is_given_up(api, cluster):
    api.fail(2, 500)
    with pytest.raises(Unreachable, match=r"HTTP 500"):
        cluster.api.request("GET", "/version", tries=2)


def test_long_lists_come_in_pages(api, cluster, monkeypatch):
    monkeypatch.setattr("finemem_pipeline.cluster.api.PAGE", 2)
    for n in range(5):
        api.create("events", {"metadata": {"name": f"e{n}", "namespace": "finemem"}, "involvedObject": {}})
    found, _ = cluster.api.items("/api/v1/namespaces/finemem/events")
    assert [thing["metadata"]["name"] for thing in found] == [f"e{n}" for n in range(5)]


def test_what_the_server_finds_wrong_is_passed_on(api, cluster, job):
    manifest = render(job("pass"))[0]
    manifest["metadata"]["name"] = "A_b"
    with pytest.raises(ClusterError, match=r'was not created.*metadata.name: Invalid value: "A_b"'):
        cluster.submit([manifest])


def test_a_namespace_that_is_not_there_is_told(api, cluster, job):
    with pytest.raises(
        ClusterError, match=r"there is no such namespace. Create it: kubectl apply --kustomize k8s/overlays/gpu-1"
    ):
        cluster.submit(render(job("pass", namespace="elsewhere")))


def test_a_right_that_is_missing_is_told(api, cluster, job):
    api.deny("create", "jobs")
    with pytest.raises(ClusterError, match=r"cannot create.*The launcher needs the role finemem-launcher"):
        cluster.submit(render(job("pass")))


def test_looking_at_the_package_loads_no_client():
    code = "import sys, finemem_pipeline.cluster.__main__; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "finemem_pipeline" in done.stdout
    assert (
        set(done.stdout.split()) & {"kubernetes", "urllib3", "yaml", "omegaconf", "fsspec", "torch", "kedro"} == set()
    )


@pytest.mark.parametrize("text", ["- 1", "hello", "", "a: [", "current-context: x", "\x00"])
def test_whatever_stands_in_a_kubeconfig_it_is_said_to_be_of_no_use(tmp_path, text):
    (tmp_path / "config").write_text(text)
    with pytest.raises(ClusterError, match=r"found: +the kubeconfig cannot be used: "):
        KubernetesCluster.connect(kubeconfig=tmp_path / "config", timeout=30)


def test_a_server_that_is_no_kubernetes_is_told_with_what_it_says(tmp_path):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>\nLog in here</html>")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = kubeconfig(tmp_path / "config", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(ClusterError, match=r"this is no answer of Kubernetes: '<html> Log in here</html>'"):
            KubernetesCluster.connect(kubeconfig=config, timeout=30)
        server.shutdown()


def test_a_context_without_a_kubeconfig_is_not_taken_for_the_cluster_around_the_pod(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(
        ClusterError, match=r"context: +prod(.|\n)*this context is asked for, and there is no kubeconfig"
    ):
        KubernetesCluster.connect(context="prod")
