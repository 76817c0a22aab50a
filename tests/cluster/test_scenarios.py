"""What can become of a job, from its manifests to its recorded outcome: a real client, and pods that are processes.

A claim about a scenario is marked with its name, and `pytest tests/cluster` ends with a line for each.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from finemem_pipeline.cluster import (
    ClusterError,
    Handle,
    JobSpec,
    KubernetesCluster,
    Notice,
    Outcome,
    SecretKey,
    render,
)
from finemem_pipeline.cluster.api import Unreachable
from finemem_pipeline.cluster.fake_api import FakeApi, Scenario

scenario = pytest.mark.scenario

SAVES_WHEN_STOPPED = """
import pathlib, signal, sys, time
saved = pathlib.Path("saved")
if saved.exists():
    print("goes on from", saved.read_text(), flush=True)
    sys.exit(0)
def stop(*_):
    saved.write_text("step 3")
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(120)
"""
FIRST_ENDS_WITH = """
import pathlib, sys
again = pathlib.Path("again")
seen = again.exists()
again.touch()
sys.exit(0 if seen else {code})
"""
SLEEPS = "import time; print('asleep', flush=True); time.sleep(120)"


def run(cluster: KubernetesCluster, spec: JobSpec, backend: str = "job") -> tuple[Handle, Outcome, list[Notice]]:
    """Submit and wait."""
    notices: list[Notice] = []
    handle = cluster.submit(render(spec, backend))
    outcome = cluster.wait(handle, notices.append)
    assert outcome is not None
    return handle, outcome, notices


def texts(notices: Sequence[Notice], kind: str) -> str:
    return " | ".join(notice.text for notice in notices if notice.kind == kind)


def eventually(true: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def runs(api: FakeApi) -> bool:
    return any(pod["status"]["phase"] == "Running" for pod in api.objects("pods"))


def watched(api: FakeApi) -> bool:
    """Jobs, pods and events."""
    return sum("watch=true" in path for _, path in api.requests) >= 3


def verbs(api: FakeApi, method: str, plural: str) -> int:
    return sum(verb == method and f"/{plural}" in path for verb, path in api.requests)


# The way it should go.


@scenario("runs to its end")
def test_a_job_runs_its_outcome_is_kept_and_its_lines_can_be_read(api, cluster, job, tmp_path):
    handle, outcome, _ = run(cluster, job("print('hello'); print('world')"))
    assert handle.created
    assert (outcome.status, outcome.reason, outcome.message) == ("succeeded", "CompletionsReached", "")
    assert [(pod.rank, pod.exit_code, pod.node) for pod in outcome.pods] == [(0, 0, "fake-node")]
    assert outcome.image.startswith("registry.example/finemem@sha256:0")
    assert list(cluster.logs(handle)) == [(0, "hello"), (0, "world")]
    record = json.loads((tmp_path / "outcomes" / "finemem" / f"{handle.name}.json").read_text())
    assert record["status"] == "succeeded"
    assert record["uid"] == handle.uid


@scenario("queued by Kueue")
def test_a_job_in_a_queue_is_queued_and_not_stuck(api, connect, job):
    api.play("*", Scenario(queued=2.0))
    _, outcome, notices = run(connect(patience=0.5, short_patience=0.5), job("pass", queue="research"))
    assert outcome.succeeded
    assert texts(notices, "queued") == "It waits for its turn in the queue 'research'."
    assert texts(notices, "stuck") == ""


# Pods that do not start.

HINDERED = {
    "image pull back-off": (
        Scenario(waiting="ImagePullBackOff", waiting_message='Back-off pulling image "x": not found'),
        "ImagePullBackOff.*not found.*Check the name of the image",
        "image",
    ),
    "unschedulable GPU": (
        Scenario(unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        "finds no node: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu. It starts once GPUs are free",
        "gpu",
    ),
    "quota refused": (
        Scenario(refused='pods "{pod}" is forbidden: exceeded quota: gpu, requested: requests.nvidia.com/gpu=8'),
        "No pod can be created.*exceeded quota: gpu.*once others have ended",
        "quota",
    ),
    "Pod Security refused": (
        Scenario(refused='pods "{pod}" is forbidden: violates PodSecurity "restricted:latest": privileged'),
        'violates PodSecurity "restricted:latest".*The namespace allows no such pod',
        "pod security",
    ),
    "volume not mounted": (
        Scenario(mount='MountVolume.SetUp failed for volume "data": configmap "x" not found'),
        "a volume cannot be mounted.*Create what is missing",
        "volume",
    ),
}


@pytest.mark.parametrize(("plays", "says", "reason"), HINDERED.values(), ids=HINDERED)
@scenario("{id}: told, then given up")
def test_why_pods_do_not_start_is_told_within_seconds_and_given_up_after_a_grace(
    api, connect, job, plays, says, reason
):
    api.play("*", plays)
    began = time.time()
    notices: list[Notice] = []
    cluster = connect(patience=1.0, short_patience=1.0)
    handle = cluster.submit(render(job("pass")))
    outcome = cluster.wait(handle, notices.append)
    stuck = next(notice for notice in notices if notice.kind == "stuck")
    assert pytest.approx(began, abs=10) == stuck.at
    assert re.search(says, stuck.text)
    assert (outcome.status, outcome.reason) == ("stuck", reason)
    eventually(lambda: not api.objects("jobs") and not api.objects("pods"))


@pytest.mark.parametrize(("plays", "says", "reason"), HINDERED.values(), ids=HINDERED)
@scenario("{id}: mended in time")
def test_what_is_mended_in_time_does_no_harm(api, cluster, job, plays, says, reason):
    api.play("*", dataclasses.replace(plays, clears_after=1.0))
    _, outcome, notices = run(cluster, job("print('hello')"))
    assert outcome.succeeded
    assert texts(notices, "stuck")


@scenario("secret missing")
def test_a_secret_that_is_not_there_is_named(api, connect, job):
    spec = job("pass", secret_env={"KEY": SecretKey("object-store", "secret-key")})
    _, outcome, _ = run(connect(short_patience=1.0), spec)
    assert (outcome.status, outcome.reason) == ("stuck", "configuration")
    assert 'secret "object-store" not found' in outcome.message


def test_a_secret_reaches_the_process(api, cluster, job):
    api.secret("finemem", "object-store", key="hidden")
    handle, _, _ = run(
        cluster, job("import os; print(os.environ['KEY'])", secret_env={"KEY": SecretKey("object-store", "key")})
    )
    assert list(cluster.logs(handle)) == [(0, "hidden")]


# Pods that end badly.


@scenario("code error")
def test_a_code_error_fails_the_job_at_once_with_the_last_lines(api, cluster, job):
    _, outcome, _ = run(cluster, job("print('about to fail'); raise SystemExit(2)"))
    assert (outcome.status, outcome.reason) == ("failed", "PodFailurePolicy")
    assert "ended with exit code 2" in outcome.message
    assert outcome.guilty in outcome.message
    assert outcome.log_tail == ("about to fail",)
    assert len(api.objects("pods")) == 1


@scenario("OOM kill, tried again")
def test_a_pod_that_ran_out_of_memory_is_tried_again(api, cluster, job):
    api.play("*", Scenario(kill="OOMKilled", kill_when="asleep"))
    code = f"import pathlib; again = pathlib.Path('again')\nif not again.exists():\n    again.touch(); {SLEEPS}"
    _, outcome, notices = run(cluster, job(code))
    assert outcome.succeeded
    assert "ran out of memory: its limit is 1Gi (exit code 137)" in texts(notices, "warning")
    assert [pod.exit_code for pod in outcome.pods] == [137, 0]


@scenario("OOM kill, too often")
def test_a_job_that_runs_out_of_memory_again_and_again_fails_and_says_so(api, cluster, job):
    api.play("*", Scenario(kill="OOMKilled", kill_when="asleep", kill_times=2))
    _, outcome, _ = run(cluster, job(SLEEPS, backoff_limit=1))
    assert (outcome.status, outcome.reason) == ("failed", "BackoffLimitExceeded")
    assert "ran out of memory: its limit is 1Gi" in outcome.message
    assert outcome.log_tail == ("asleep",)


@scenario("preempted and resumed")
def test_a_preempted_job_saves_goes_on_and_has_nothing_counted_against_it(api, cluster, job):
    api.play("*", Scenario(kill="Preempted", kill_when="ready"))
    handle, outcome, notices = run(cluster, job(SAVES_WHEN_STOPPED, backoff_limit=0))
    assert outcome.succeeded
    assert "does not count" in texts(notices, "preempted")
    assert list(cluster.logs(handle))[-1] == (0, "goes on from step 3")
    assert api.objects("jobs")[0]["status"].get("failed", 0) == 0


@scenario("asks to be started again")
def test_the_resume_exit_code_is_no_failure(api, cluster, job):
    _, outcome, notices = run(cluster, job(FIRST_ENDS_WITH.format(code=75), backoff_limit=0))
    assert outcome.succeeded
    assert "asks to be started again (exit code 75)" in texts(notices, "warning")
    assert [pod.exit_code for pod in outcome.pods] == [75, 0]


@scenario("one rank of two fails")
def test_one_rank_that_fails_ends_the_job_and_is_named_with_its_last_lines(api, cluster, job, tmp_path):
    (tmp_path / "ranks.py").write_text(
        "import os, time\n"
        "if os.environ['RANK'] == '1':\n"
        "    print('rank 1 is wrong', flush=True)\n"
        "    raise SystemExit(3)\n"
        "time.sleep(120)\n"
    )
    _, outcome, _ = run(cluster, job(command=("ranks.py",), nodes=2))
    assert (outcome.status, outcome.reason) == ("failed", "PodFailurePolicy")
    assert next(pod.rank for pod in outcome.pods if pod.pod == outcome.guilty) == 1
    assert "(rank 1) ended with exit code 3" in outcome.message
    assert "rank 1 is wrong" in outcome.log_tail
    assert [pod["metadata"]["name"] for pod in api.objects("pods")] == [outcome.guilty]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["job", "jobset", "trainjob"])
@scenario("two nodes under torchrun: {id}")
def test_two_nodes_find_each_other(api, cluster, job, tmp_path, backend):
    (tmp_path / "ranks.py").write_text("import os; print(os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])\n")
    nodes = {"nodes": 2} if backend != "trainjob" else {"processes": 2}
    handle, outcome, _ = run(cluster, job(command=("ranks.py",), **nodes), backend)
    assert outcome.succeeded
    lines = sorted(line for _, line in cluster.logs(handle, ranks=None))
    assert lines == ["0 of 2", "1 of 2"]


@scenario("a JobSet fails")
def test_a_job_set_that_fails_is_understood(api, cluster, job):
    _, outcome, _ = run(cluster, job("print('oh'); raise SystemExit(4)"), "jobset")
    assert (outcome.status, outcome.log_tail) == ("failed", ("oh",))


# The API server.


@scenario("API server: connection refused")
def test_a_server_that_is_away_for_a_while_is_waited_for(api, cluster, job, monkeypatch):
    monkeypatch.setattr("finemem_pipeline.cluster.watch.SILENCE_SECONDS", 0.5)
    notices: list[Notice] = []
    handle = cluster.submit(render(job("import time; time.sleep(3)")))
    waiting = threading.Thread(target=lambda: outcomes.append(cluster.wait(handle, notices.append)))
    outcomes: list[Outcome | None] = []
    waiting.start()
    eventually(lambda: runs(api) and watched(api))
    api.down(2.5)
    waiting.join(60)
    assert outcomes[0].succeeded
    assert "Connected again after" in texts(notices, "connection")


@scenario("API server: 500")
def test_a_server_that_answers_500_is_asked_again(api, cluster, job):
    api.fail(2, 500)
    handle, outcome, _ = run(cluster, job("pass"))
    assert outcome.succeeded
    api.fail(1, 503)
    assert list(cluster.logs(handle)) == []


@scenario("API server: away when the job has ended")
def test_a_server_that_is_away_when_the_job_has_ended_is_waited_for(api, cluster, job, monkeypatch):
    handle = cluster.submit(render(job("pass")))
    items, failures = cluster.api.items, iter(range(2))

    def away_twice(path, query=None):
        if "pods" in path and verbs(api, "GET", "jobs") and _ended(api) and next(failures, None) is not None:
            raise Unreachable("the API server is away")
        return items(path, query)

    monkeypatch.setattr(cluster.api, "items", away_twice)
    assert cluster.wait(handle).succeeded
    assert next(failures, None) is None


def _ended(api: FakeApi) -> bool:
    return any(found["type"] == "Complete" for found in api.objects("jobs")[0].get("status", {}).get("conditions", ()))


@scenario("API server: the token has expired")
def test_a_token_that_expires_is_told_and_whoever_logs_in_goes_on(api, cluster, job, monkeypatch, tmp_path):
    monkeypatch.setattr("finemem_pipeline.cluster.watch.SILENCE_SECONDS", 0.5)
    monkeypatch.setattr("finemem_pipeline.cluster.mirror.WATCH_SECONDS", 1)
    notices: list[Notice] = []
    outcomes: list[Outcome | None] = []
    handle = cluster.submit(render(job("import time; time.sleep(8)")))
    waiting = threading.Thread(target=lambda: outcomes.append(cluster.wait(handle, notices.append)))
    waiting.start()
    eventually(lambda: runs(api) and watched(api))
    api.token = "new"
    eventually(lambda: "does not know you any more; log in again" in texts(notices, "connection"))
    api.kubeconfig(tmp_path / "kubeconfig")
    waiting.join(60)
    assert outcomes[0].succeeded
    assert "Connected again after" in texts(notices, "connection")


@scenario("API server: 410 Gone")
def test_a_watch_that_comes_too_late_begins_anew(api, cluster, job):
    handle = cluster.submit(render(job(SAVES_WHEN_STOPPED)))
    outcomes: list[Outcome | None] = []
    waiting = threading.Thread(target=lambda: outcomes.append(cluster.wait(handle)))
    waiting.start()
    eventually(lambda: runs(api) and watched(api))
    api.forget()
    eventually(lambda: cluster._mirrors["jobs", "finemem"].gaps == 1)
    (pod,) = api.objects("pods")
    api.store.notes.clear()
    os.kill(api._controllers._processes[pod["metadata"]["uid"]].popen.pid, signal.SIGTERM)
    waiting.join(60)
    assert outcomes[0].succeeded


@scenario("API server: no right to watch")
def test_without_the_right_to_watch_it_asks_again_and_again(api, cluster, job):
    for plural in ("jobs", "pods", "events"):
        api.deny("watch", plural)
    assert run(cluster, job("import time; time.sleep(2)"))[1].succeeded


def test_without_the_right_to_list_pods_it_says_so(api, cluster, job):
    api.deny("list", "pods")
    with pytest.raises(ClusterError, match="does not let you watch pods"):
        run(cluster, job("import time; time.sleep(5)"))


@scenario("rights taken back while attached")
def test_a_launcher_that_may_not_watch_any_more_says_so_and_leaves_the_job(api, cluster, job, monkeypatch):
    monkeypatch.setattr("finemem_pipeline.cluster.watch.REFUSED_SECONDS", 1.0)
    handle = cluster.submit(render(job(SLEEPS)))
    said: list[str] = []

    def wait() -> None:
        try:
            cluster.wait(handle)
        except ClusterError as fault:
            said.append(str(fault))

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: runs(api) and watched(api))
    for verb in ("list", "watch"):
        api.deny(verb, "jobs")
    api.forget()
    waiting.join(60)
    assert "does not let you watch jobs any more" in said[0]
    assert "have the right given back, and give the same command to attach" in said[0]
    assert len(api.objects("jobs")) == 1


@scenario("API server: away at the very end")
def test_a_server_that_goes_away_as_the_job_ends_is_waited_for(api, cluster, job, monkeypatch):
    items, failures = cluster.api.items, [Unreachable("the API server: gone")] * 2

    def sometimes(path, query=None):
        if (query or {}).get("labelSelector", "").startswith("finemem/job=") and failures:
            raise failures.pop()
        return items(path, query)

    monkeypatch.setattr(cluster.api, "items", sometimes)
    _, outcome, notices = run(cluster, job("pass"))
    assert outcome.succeeded
    assert not failures
    assert "No word from the API server: gone" in texts(notices, "connection")


# Launchers come and go.


@scenario("launcher killed, attached from another machine")
def test_a_launcher_that_is_killed_leaves_the_job_to_another(api, connect, job, tmp_path, project):
    plan = {
        "cluster": {"outcomes": str(tmp_path / "outcomes")},
        "jobs": [_plain(job(SAVES_WHEN_STOPPED, launch_env={"RUN": "a"}))],
    }
    (tmp_path / "plan.yml").write_text(json.dumps(plan))
    words = [sys.executable, "-m", "finemem_pipeline.cluster", "submit", str(tmp_path / "plan.yml")]
    launcher = subprocess.Popen([*words, "--kubeconfig", str(tmp_path / "kubeconfig")], cwd=tmp_path)
    eventually(lambda: runs(api))
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    other = connect()
    handle = other.submit(render(job(SAVES_WHEN_STOPPED, launch_env={"RUN": "b"})))
    assert not handle.created
    assert handle.launch_env == {"RUN": "a"}
    assert len(api.objects("jobs")) == 1
    (pod,) = api.objects("pods")
    os.kill(api._controllers._processes[pod["metadata"]["uid"]].popen.pid, signal.SIGTERM)
    assert other.wait(handle).succeeded


def _plain(spec: JobSpec) -> dict[str, object]:
    return {
        "pipeline": spec.pipeline, "group": spec.group, "image": spec.image, "command": list(spec.command),
        "identity": spec.identity, "cpu": spec.cpu, "memory": spec.memory, "grace_seconds": spec.grace_seconds,
        "launch_env": dict(spec.launch_env),
    }  # fmt: skip


@scenario("submitted twice")
def test_the_same_job_submitted_by_two_launchers_is_one_job(api, connect, job):
    manifests = render(job(SLEEPS, nodes=2))
    first, second = connect().submit(manifests), connect().submit(manifests)
    assert (first.created, second.created) == (True, False)
    assert first.uid == second.uid
    assert len(api.objects("jobs")) == len(api.objects("services")) == 1


def test_a_service_that_a_dead_launcher_did_not_come_to_is_made_up_for(api, connect, job):
    job_alone, service = render(job(SLEEPS, nodes=2))
    connect().submit([job_alone])
    handle = connect().submit([job_alone, service])
    assert api.objects("services")[0]["metadata"]["ownerReferences"][0]["uid"] == handle.uid


def test_a_service_of_an_earlier_job_makes_room(api, cluster, job):
    spec = job(SLEEPS, nodes=2)
    earlier = {"apiVersion": "batch/v1", "kind": "Job", "name": spec.name, "uid": "earlier"}
    _, service = render(spec)
    api.create("services", {**service, "metadata": {**service["metadata"], "ownerReferences": [earlier]}})
    handle = cluster.submit(render(spec))
    assert api.objects("services")[0]["metadata"]["ownerReferences"][0]["uid"] == handle.uid


@scenario("spec changed")
def test_a_job_of_the_same_name_with_another_spec_is_refused_with_what_differs(api, cluster, job):
    cluster.submit(render(job(SLEEPS)))
    with pytest.raises(ClusterError, match=r'memory: "1Gi" there, "2Gi" asked for\n.*cancel'):
        cluster.submit(render(job(SLEEPS, memory="2Gi")))


def test_a_job_that_somebody_else_made_is_left_alone(api, cluster, job):
    meta = {"name": job("pass").name, "namespace": "finemem"}
    api.create(
        "jobs", {"apiVersion": "batch/v1", "metadata": meta, "spec": {"suspend": True, "template": {"spec": {}}}}
    )
    with pytest.raises(ClusterError, match="was not made by this launcher"):
        cluster.submit(render(job("pass")))


@scenario("TTL gone, outcome recorded")
def test_a_job_that_the_cluster_has_forgotten_is_done_if_that_is_recorded(api, connect, job):
    spec = job("pass", ttl_seconds=0)
    run(connect(), spec)
    eventually(lambda: not api.objects("jobs"))
    assert connect().find(spec.name, "finemem").outcome.succeeded
    again = connect().submit(render(spec))
    assert again.outcome.succeeded
    assert api.objects("jobs") == []


def test_a_job_that_is_neither_there_nor_recorded_is_not_made_up(api, cluster, job):
    cluster.submit(render(job(SLEEPS)))
    with pytest.raises(ClusterError, match=f"Did you mean '{job('pass').name}'"):
        cluster.find(job("pass").name[:-1] + "x", "finemem")


@scenario("failed, submitted again")
def test_a_job_that_has_failed_is_started_again(api, cluster, job):
    spec = job(FIRST_ENDS_WITH.format(code=1))
    first, failed, _ = run(cluster, spec)
    second, outcome, _ = run(cluster, spec)
    assert (failed.status, outcome.status) == ("failed", "succeeded")
    assert second.created
    assert first.uid != second.uid


@scenario("left, and attached again")
def test_whoever_leaves_does_not_stop_the_job(api, cluster, job):
    handle = cluster.submit(render(job("import time; time.sleep(3)")))
    leave = threading.Event()
    leave.set()
    assert cluster.wait(handle, leave=leave) is None
    assert cluster.wait(cluster.find(handle.name, "finemem")).succeeded


@scenario("cancelled")
def test_a_cancelled_job_saves_and_is_gone_with_its_pods_and_its_service(api, cluster, job, tmp_path):
    handle = cluster.submit(render(job(SAVES_WHEN_STOPPED, nodes=1)))
    eventually(lambda: "ready" in [line for _, line in cluster.logs(handle)])
    outcome = cluster.delete(handle)
    assert outcome.status == "cancelled"
    assert (tmp_path / "saved").read_text() == "step 3"
    assert api.objects("jobs") == api.objects("pods") == []
    assert cluster.find(handle.name, "finemem").outcome.status == "cancelled"


def test_deleting_a_job_of_several_nodes_takes_its_service_along(api, cluster, job):
    handle = cluster.submit(render(job(SLEEPS, nodes=2)))
    cluster.delete(handle)
    eventually(lambda: not api.objects("services"))
    assert "propagation Foreground" in api.timeline()


@scenario("deleted by somebody else")
def test_a_job_that_somebody_removes_is_not_waited_for(api, connect, job):
    first, second = connect(), connect()
    handle = first.submit(render(job(SLEEPS)))
    outcomes: list[Outcome | None] = []
    waiting = threading.Thread(target=lambda: outcomes.append(first.wait(handle)))
    waiting.start()
    eventually(lambda: runs(api))
    second.delete(second.find(handle.name, "finemem"))
    waiting.join(60)
    assert outcomes[0].status == "cancelled"


# Logs.


@scenario("logs followed through a lost connection and a preemption")
def test_followed_lines_come_once_each_whatever_happens(api, cluster, job):
    code = (
        "import pathlib, sys, time, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "n = pathlib.Path('n'); first = not n.exists(); n.touch()\n"
        "for i in range(30):\n"
        "    print('first' if first else 'second', i, flush=True); time.sleep(0.05)\n"
        "if first: time.sleep(60)\n"
    )
    api.play("*", Scenario(kill="Preempted", kill_when="first 29"))
    handle = cluster.submit(render(job(code)))
    found: list[str] = []
    reading = threading.Thread(target=lambda: found.extend(line for _, line in cluster.logs(handle, follow=True)))
    reading.start()
    eventually(lambda: len(found) > 5)
    api.down(1.0)
    reading.join(90)
    assert found == [f"{word} {i}" for word in ("first", "second") for i in range(30)]


def test_the_last_lines_of_each_rank_can_be_had(api, cluster, job):
    handle, _, _ = run(cluster, job("for i in range(5): print(i)"))
    assert list(cluster.logs(handle, tail=2)) == [(0, "3"), (0, "4")]


# The load on the server.


@scenario("many jobs, three watches")
def test_many_jobs_are_waited_for_with_three_watches(api, cluster, job):
    handles = [cluster.submit(render(job("import time; time.sleep(3)", group=f"v{n}"))) for n in range(6)]
    api.requests.clear()
    threads = [threading.Thread(target=cluster.wait, args=(handle,)) for handle in handles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    watches = [path for _, path in api.requests if "watch=true" in path]
    assert len({path.partition("?")[0] for path in watches}) == len(watches) == 3
    assert verbs(api, "GET", "jobs") <= 2 + len(watches)
