"""The controllers and the nodes behind the fake API server: jobs get pods, pods are processes, and scenarios go wrong.

A pod's command runs on this machine with the Python of this process. Host names of pods become 127.0.0.1 and the port
where ranks meet becomes a free one, since all pods share one network here. Volumes are not mounted.
"""

from __future__ import annotations

import base64
import copy
import fnmatch
import os
import random
import re
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finemem_pipeline.cluster.fake_api import Store

Thing = dict[str, Any]

TICK_SECONDS = 0.05
INHERITED = ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "TMPDIR")
INDEX = "batch.kubernetes.io/job-completion-index"
QUEUE = "kueue.x-k8s.io/queue-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens to a job, besides its processes being run. The default: nothing."""

    queued: float = 0.0
    """Seconds that a job with a queue waits for admission."""
    refused: str = ""
    """No pod is created; attempts leave a FailedCreate event with this message."""
    unschedulable: str = ""
    """Pods stay Pending with this message of the scheduler."""
    waiting: str = ""
    """The container waits for this reason: ImagePullBackOff, CreateContainerError, ..."""
    waiting_message: str = ""
    mount: str = ""
    """Pods stay in ContainerCreating with a FailedMount event of this message."""
    clears_after: float | None = None
    """Seconds until what hinders the pods is mended; None: never."""
    kill: str = ""
    """OOMKilled: SIGKILL. Preempted: SIGTERM, then SIGKILL after the grace, condition DisruptionTarget."""
    kill_rank: int = 0
    kill_when: str | Callable[[], bool] = ""
    """Once a line of the rank's output contains this, or once this is true; at once if empty."""
    kill_times: int = 1
    """How many pods of that rank meet this end."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to that of the processes."""


@dataclass(slots=True)
class Process:
    """A pod that has run, or runs."""

    popen: subprocess.Popen[bytes]
    lines: list[tuple[float, str]] = field(default_factory=list)
    killed: str = ""
    term_at: float | None = None
    reader: threading.Thread | None = None
    ended: bool = False

    def read(self) -> None:
        assert self.popen.stdout is not None
        for raw in self.popen.stdout:
            self.lines.append((time.time(), raw.decode(errors="replace").rstrip("\n")))


def stamp(at: float | None = None, fraction: bool = False) -> str:
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S" + (".%f000Z" if fraction else "Z"))


class Controllers:
    """One thread that makes things so, a tick at a time."""

    def __init__(self, store: Store, root: Path, environment: Mapping[str, str] | None) -> None:
        self.store, self.root = store, root
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.environment = dict(inherited if environment is None else environment)
        self._scenarios: list[tuple[str, Scenario]] = []
        self._processes: dict[str, Process] = {}
        self._counted: dict[str, set[str]] = {}
        self._met: dict[str, int] = {}
        self._begun: dict[str, float] = {}
        self._ports: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-controllers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        for process in self._processes.values():
            _kill(process.popen, signal.SIGKILL)

    def play(self, name: str, scenario: Scenario) -> None:
        self._scenarios.insert(0, (name, scenario))

    def _scenario(self, job: str) -> Scenario:
        return next((scenario for pattern, scenario in self._scenarios if fnmatch.fnmatch(job, pattern)), Scenario())

    def warnings(self, thing: Thing) -> list[str]:
        """What admission says of a job whose pods it would refuse: it takes the job all the same."""
        refused = self._scenario(thing["metadata"]["name"]).refused
        found = re.search(r"violates PodSecurity.*", refused)
        return [found[0].replace('"', "'").replace("violates", "would violate")] if found else []

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            with self.store.changed:  # no request comes between what is read here and what is written
                self._tick()

    def _tick(self) -> None:
        for plural, child in (("jobsets", _jobset_child), ("trainjobs", _trainjob_child)):
            for parent in self.store.all(plural):
                self._reconcile_parent(plural, parent, child(parent))
        for job in self.store.all("jobs"):
            self._reconcile_job(job)
        for pod in self.store.all("pods"):
            self._reconcile_pod(pod)
        for service in self.store.all("services"):
            if service["metadata"].get("deletionTimestamp"):  # in the foreground, and nothing that it waits for
                self.store.remove("services", service)

    # Jobs.

    def _reconcile_job(self, job: Thing) -> None:
        meta, spec, status = job["metadata"], job["spec"], job.setdefault("status", {})
        pods = [pod for pod in self.store.all("pods", meta["namespace"]) if _owned(pod, meta["uid"])]
        if meta.get("deletionTimestamp"):
            self._finish_deletion("jobs", job, pods)
            return
        if _true(job, "Complete") or _true(job, "Failed"):
            self._expire("jobs", job)
            return
        if spec.get("suspend"):
            self._admit(job)
            return
        status.setdefault("startTime", stamp())
        scenario = self._scenario(meta["name"])
        self._begun.setdefault(meta["uid"], time.monotonic())
        self._count(job, pods)
        wanted = int(spec.get("parallelism", 1))
        live = [pod for pod in pods if not _over(pod)]
        if _true(job, "FailureTarget"):
            self._end(job, "Failed", live)
        elif _true(job, "SuccessCriteriaMet"):
            self._end(job, "Complete", live)
        elif status.get("succeeded", 0) >= int(spec.get("completions", 1)):
            self._condition(
                job, "SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods"
            )
        else:
            self._fill(job, pods, live, wanted, scenario)
        status["active"] = len(live)
        status["ready"] = sum(pod.get("status", {}).get("phase") == "Running" for pod in live)
        self.store.put("jobs", job)

    def _count(self, job: Thing, pods: list[Thing]) -> None:
        """Each pod once, by the first rule of the policy that fits it."""
        meta, spec, status = job["metadata"], job["spec"], job["status"]
        counted = self._counted.setdefault(meta["uid"], set())
        for pod in pods:
            if not _over(pod) or pod["metadata"]["uid"] in counted:
                continue
            counted.add(pod["metadata"]["uid"])
            if pod["status"]["phase"] == "Succeeded":
                status["succeeded"] = status.get("succeeded", 0) + 1
                continue
            action, message = _policy(pod, spec.get("podFailurePolicy", {}))
            if action == "FailJob":
                self._condition(job, "FailureTarget", "PodFailurePolicy", message)
            elif action != "Ignore":
                status["failed"] = status.get("failed", 0) + 1
                if status["failed"] > int(spec.get("backoffLimit", 6)):
                    text = "Job has reached the specified backoff limit"
                    self._condition(job, "FailureTarget", "BackoffLimitExceeded", text)
            if pod["metadata"].get("deletionTimestamp"):
                self.store.remove("pods", pod)

    def _fill(self, job: Thing, pods: list[Thing], live: list[Thing], wanted: int, scenario: Scenario) -> None:
        meta = job["metadata"]
        done = {_index(pod) for pod in pods if pod.get("status", {}).get("phase") == "Succeeded"}
        missing = [rank for rank in range(wanted) if rank not in done and rank not in {_index(pod) for pod in live}]
        if scenario.refused and not self._mended(meta["uid"], scenario):
            if missing:
                text = scenario.refused.format(pod=f"{meta['name']}-")
                self._event(job, "Warning", "FailedCreate", f"Error creating: {text}")
            return
        for rank in missing:
            self._create_pod(job, rank)

    def _create_pod(self, job: Thing, rank: int) -> None:
        meta, template = job["metadata"], copy.deepcopy(job["spec"]["template"])
        indexed = job["spec"].get("completionMode") == "Indexed"
        middle = f"-{rank}" if indexed else ""
        letters = "".join(random.choices(string.ascii_lowercase + string.digits, k=5))
        owner = {
            "apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True,
            "blockOwnerDeletion": True,
        }  # fmt: skip
        labels = {"batch.kubernetes.io/job-name": meta["name"]} | ({INDEX: str(rank)} if indexed else {})
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{meta['name']}{middle}-{letters}",
                "namespace": meta["namespace"],
                "labels": (template.get("metadata", {}).get("labels") or {}) | labels,
                "annotations": {INDEX: str(rank)} if indexed else {},
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending", "conditions": [], "containerStatuses": []},
        }
        self.store.add("pods", pod)
        self._event(job, "Normal", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")

    def _end(self, job: Thing, name: str, live: list[Thing]) -> None:
        """The pods that are left end first; then the condition that ends the job is set."""
        for pod in live:
            self.delete("pods", pod, "Background")
        if live:
            return
        early = _true(job, "FailureTarget") or _true(job, "SuccessCriteriaMet")
        assert early
        self._condition(job, name, early["reason"], early["message"])
        if name == "Complete":
            job["status"]["completionTime"] = stamp()

    def _admit(self, job: Thing) -> None:
        """As Kueue does, for jobs that name a queue."""
        meta = job["metadata"]
        since = self._begun.setdefault(f"queue {meta['uid']}", time.monotonic())
        if not _true(job, "Suspended"):
            self._condition(job, "Suspended", "JobSuspended", "Job suspended")
        if QUEUE in (meta.get("labels") or {}) and time.monotonic() - since >= self._scenario(meta["name"]).queued:
            job["spec"]["suspend"] = False
            job["status"]["conditions"] = [c for c in job["status"]["conditions"] if c["type"] != "Suspended"]
            self.store.note(f"Job {meta['name']} admitted from its queue")
        self.store.put("jobs", job)

    def _expire(self, plural: str, job: Thing) -> None:
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        since = self._begun.setdefault(f"end {job['metadata']['uid']}", time.monotonic())
        if seconds is not None and time.monotonic() - since >= seconds:
            self.store.note(f"{job['kind']} {job['metadata']['name']} is removed: its TTL is over")
            self.delete(plural, job, "Background")

    def _condition(self, thing: Thing, name: str, reason: str, message: str) -> None:
        conditions = thing.setdefault("status", {}).setdefault("conditions", [])
        if any(found["type"] == name for found in conditions):
            return
        conditions.append(
            {"type": name, "status": "True", "reason": reason, "message": message, "lastTransitionTime": stamp()}
        )
        self.store.note(f"{thing['kind']} {thing['metadata']['name']}: {name} ({reason}) {message}")

    def _mended(self, uid: str, scenario: Scenario) -> bool:
        return scenario.clears_after is not None and time.monotonic() - self._begun[uid] >= scenario.clears_after

    def _event(self, about: Thing, kind: str, reason: str, message: str) -> None:
        """One object per reason, counted up, as recorders do."""
        meta = about["metadata"]
        name = f"{meta['name']}.{reason.lower()}"
        there = self.store.get("events", meta["namespace"], name)
        if there is not None and there["involvedObject"]["uid"] == meta["uid"] and there["message"] == message:
            if there["lastTimestamp"] != stamp():
                self.store.put("events", there | {"count": there["count"] + 1, "lastTimestamp": stamp()})
            return
        if there is not None:
            self.store.remove("events", there)
        involved = {"kind": about["kind"], "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
        event = {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": meta["namespace"]},
            "involvedObject": involved, "reason": reason, "message": message, "type": kind, "count": 1,
            "firstTimestamp": stamp(), "lastTimestamp": stamp(),
        }  # fmt: skip
        self.store.add("events", event)
        if kind == "Warning":
            self.store.note(f"Event {reason} of {meta['name']}: {message}")

    # Deleting.

    def delete(self, plural: str, thing: Thing, policy: str) -> Thing:
        uid, namespace = thing["metadata"]["uid"], thing["metadata"].get("namespace", "")
        if plural == "pods":
            process = self._processes.get(uid)
            thing["metadata"].setdefault("deletionTimestamp", stamp())
            self.store.put("pods", thing)
            if process is None or process.ended:
                self.store.remove("pods", thing)
            else:
                self._terminate(thing, process)
            return thing
        if policy == "Foreground":
            thing["metadata"]["deletionTimestamp"] = stamp()
            thing["metadata"]["finalizers"] = ["foregroundDeletion"]
            self.store.put(plural, thing)
        else:
            self.store.remove(plural, thing)
        if policy != "Orphan":
            self._delete_dependents(uid, namespace)
        return thing

    def _delete_dependents(self, uid: str, namespace: str) -> None:
        for plural in ("jobs", "services", "pods"):
            for thing in self.store.all(plural, namespace):
                if _owned(thing, uid) and not thing["metadata"].get("deletionTimestamp"):
                    self.delete(plural, thing, "Foreground" if plural == "jobs" else "Background")

    def _finish_deletion(self, plural: str, thing: Thing, dependents: list[Thing]) -> None:
        for pod in dependents:
            if _over(pod):
                self.store.remove("pods", pod)
        if not [pod for pod in dependents if not _over(pod)]:
            self.store.remove(plural, thing)
            self.store.note(f"{thing['kind']} {thing['metadata']['name']} is gone")

    # Pods.

    def _reconcile_pod(self, pod: Thing) -> None:
        uid, status = pod["metadata"]["uid"], pod["status"]
        process = self._processes.get(uid)
        if process is None and not _over(pod):
            self._start_pod(pod)
        elif process is not None and not process.ended:
            self._mind(pod, process)
        elif _over(pod) and pod["metadata"].get("deletionTimestamp"):
            owner = pod["metadata"]["ownerReferences"][0]
            job = self.store.get("jobs", pod["metadata"]["namespace"], owner["name"])
            if job is None or job["metadata"]["uid"] != owner["uid"] or uid in self._counted.get(owner["uid"], set()):
                self.store.remove("pods", pod)
        elif status["phase"] == "Running":
            raise AssertionError("a running pod without a process")

    def _start_pod(self, pod: Thing) -> None:
        owner = pod["metadata"]["ownerReferences"][0]
        scenario = self._scenario(owner["name"])
        container = pod["spec"]["containers"][0]
        hindered = not self._mended(owner["uid"], scenario)
        if scenario.unschedulable and hindered:
            self._pod_condition(pod, "PodScheduled", "False", "Unschedulable", scenario.unschedulable)
            self._event(pod, "Warning", "FailedScheduling", scenario.unschedulable)
            return
        self._pod_condition(pod, "PodScheduled", "True", "", "")
        pod["spec"]["nodeName"] = "fake-node"
        reason, message = "ContainerCreating", ""
        if scenario.waiting and hindered:
            reason, message = scenario.waiting, scenario.waiting_message or f"Back-off for {container['image']}"
            self._event(pod, "Warning", "Failed", f"Error: {reason}")
        elif scenario.mount and hindered:
            self._event(pod, "Warning", "FailedMount", scenario.mount)
        else:
            environment, missing = self._pod_environment(pod, container)
            if missing:
                reason, message = "CreateContainerConfigError", missing
            else:
                self._run_pod(pod, container, environment | dict(scenario.environment))
                return
        pod["status"]["containerStatuses"] = [
            {"name": container["name"], "state": {"waiting": {"reason": reason, "message": message}}}
        ]
        self.store.put("pods", pod)

    def _pod_environment(self, pod: Thing, container: Thing) -> tuple[dict[str, str], str]:
        """(variables, what is missing)."""
        found = dict(self.environment)
        for variable in container.get("env", ()):
            if "value" in variable:
                found[variable["name"]] = variable["value"]
                continue
            reference = variable["valueFrom"]["secretKeyRef"]
            secret = self.store.get("secrets", pod["metadata"]["namespace"], reference["name"])
            if secret is None:
                return {}, f'secret "{reference["name"]}" not found'
            if reference["key"] not in secret["data"]:
                return {}, f"couldn't find key {reference['key']} in Secret {reference['name']}"
            found[variable["name"]] = base64.b64decode(secret["data"][reference["key"]]).decode()
        if INDEX in pod["metadata"]["annotations"]:
            found["JOB_COMPLETION_INDEX"] = pod["metadata"]["annotations"][INDEX]
        return found, ""

    def _run_pod(self, pod: Thing, container: Thing, environment: dict[str, str]) -> None:
        owner = pod["metadata"]["ownerReferences"][0]["uid"]
        words = [
            re.sub(r"\$\(([A-Za-z_]\w*)\)", lambda found: environment.get(found[1], found[0]), word)
            for word in (*container.get("command", ()), *container.get("args", ()))
        ]
        words = [sys.executable if words.index(word) == 0 and word == "python" else word for word in words]
        words = [self._local(word, owner) for word in words]
        popen = subprocess.Popen(
            words,
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        process = Process(popen)
        process.reader = threading.Thread(target=process.read, name=f"pod-{pod['metadata']['name']}", daemon=True)
        process.reader.start()
        self._processes[pod["metadata"]["uid"]] = process
        pod["status"] |= {"phase": "Running", "startTime": stamp()}
        pod["status"]["containerStatuses"] = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": f"{container['image'].partition('@')[0]}@sha256:{'0' * 64}",
                "ready": True,
                "state": {"running": {"startedAt": stamp()}},
            }
        ]
        self.store.note(f"Pod {pod['metadata']['name']} runs")
        self.store.put("pods", pod)

    def _local(self, word: str, owner: str) -> str:
        if word.startswith("--master-addr="):
            return "--master-addr=127.0.0.1"
        if word.startswith("--master-port="):
            if owner not in self._ports:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", 0))
                    self._ports[owner] = probe.getsockname()[1]
            return f"--master-port={self._ports[owner]}"
        return word

    def _mind(self, pod: Thing, process: Process) -> None:
        """See whether a scenario ends it, or it has ended."""
        owner = pod["metadata"]["ownerReferences"][0]
        scenario = self._scenario(owner["name"])
        if process.term_at is not None and time.monotonic() > process.term_at:
            _kill(process.popen, signal.SIGKILL)
        met = self._met.get(owner["uid"], 0)
        mortal = scenario.kill and not process.killed and _index(pod) == scenario.kill_rank
        if mortal and met < scenario.kill_times and _seen(scenario.kill_when, process):
            self._met[owner["uid"]] = met + 1
            self._meet(pod, process, scenario.kill)
        code = process.popen.poll()
        if code is None:
            return
        assert process.reader is not None
        process.reader.join(5)
        process.ended = True
        self._end_pod(
            self.store.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"]) or pod, process, code
        )

    def _meet(self, pod: Thing, process: Process, end: str) -> None:
        process.killed = end
        self.store.note(f"Pod {pod['metadata']['name']}: {end}")
        if end == "OOMKilled":
            _kill(process.popen, signal.SIGKILL)
            return
        message = "default-scheduler: preempting to accommodate a higher priority pod"
        self._pod_condition(pod, "DisruptionTarget", "True", "PreemptionByScheduler", message)
        pod["metadata"]["deletionTimestamp"] = stamp()
        self.store.put("pods", pod)
        self._terminate(pod, process)

    def _terminate(self, pod: Thing, process: Process) -> None:
        """SIGTERM to the first process of the container; SIGKILL to all of them after the grace."""
        if process.term_at is None:
            process.term_at = time.monotonic() + pod["spec"].get("terminationGracePeriodSeconds", 30)
            with suppress(ProcessLookupError):
                process.popen.send_signal(signal.SIGTERM)

    def _end_pod(self, pod: Thing, process: Process, code: int) -> None:
        _kill(process.popen, signal.SIGKILL)  # nothing of a container outlives its first process
        exit_code = code if code >= 0 else 128 - code
        reason = "OOMKilled" if process.killed == "OOMKilled" else "Error" if exit_code else "Completed"
        container = pod["spec"]["containers"][0]
        end: Thing = {"exitCode": exit_code, "reason": reason, "finishedAt": stamp()}
        if exit_code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            end["message"] = "\n".join(line for _, line in process.lines[-80:])[-2048:]
        pod["status"]["phase"] = "Failed" if exit_code else "Succeeded"
        pod["status"]["containerStatuses"][0] |= {"ready": False, "state": {"terminated": end}}
        self.store.note(f"Pod {pod['metadata']['name']} ended: exit code {exit_code} ({reason})")
        self.store.put("pods", pod)

    def _pod_condition(self, pod: Thing, name: str, status: str, reason: str, message: str) -> None:
        conditions = [found for found in pod["status"]["conditions"] if found["type"] != name]
        found = {"type": name, "status": status} | ({"reason": reason, "message": message} if reason else {})
        pod["status"]["conditions"] = [*conditions, found]
        self.store.put("pods", pod)

    # Logs.

    def log(self, namespace: str, name: str, query: Mapping[str, str]) -> Iterator[bytes]:
        from finemem_pipeline.cluster.fake_api import Answer

        pod = self.store.get("pods", namespace, name)
        if pod is None:
            raise Answer(404, "NotFound", f'pods "{name}" not found')
        process = self._processes.get(pod["metadata"]["uid"])
        if process is None:
            text = f'container "{query.get("container")}" in pod "{name}" is waiting to start: ContainerCreating'
            raise Answer(400, "BadRequest", text)
        return self._lines(process, query)

    def _lines(self, process: Process, query: Mapping[str, str]) -> Iterator[bytes]:
        at = max(0, len(process.lines) - int(query["tailLines"])) if "tailLines" in query else 0
        since = query.get("sinceTime", "")[:19]
        while not self._stop.is_set():
            over = process.ended
            for moment, line in process.lines[at:]:
                at += 1
                if stamp(moment)[:19] >= since:
                    prefix = f"{stamp(moment, fraction=True)} " if query.get("timestamps") == "true" else ""
                    yield f"{prefix}{line}".encode()
            if over or query.get("follow") != "true":
                return
            time.sleep(TICK_SECONDS)

    # JobSet and TrainJob.

    def _reconcile_parent(self, plural: str, parent: Thing, child: Thing) -> None:
        meta = parent["metadata"]
        job = self.store.get("jobs", meta["namespace"], child["metadata"]["name"])
        if meta.get("deletionTimestamp"):
            if job is None:
                self.store.remove(plural, parent)
            return
        complete = "Completed" if plural == "jobsets" else "Complete"
        if _true(parent, complete) or _true(parent, "Failed"):
            self._expire(plural, parent)
        elif parent["spec"].get("suspend"):
            if QUEUE in (meta.get("labels") or {}):
                since = self._begun.setdefault(f"queue {meta['uid']}", time.monotonic())
                parent["spec"]["suspend"] = time.monotonic() - since < self._scenario(meta["name"]).queued
        elif job is None:
            owner = {
                "apiVersion": parent["apiVersion"],
                "kind": parent["kind"],
                "name": meta["name"],
                "uid": meta["uid"],
            }
            child["metadata"] |= {"namespace": meta["namespace"], "ownerReferences": [owner]}
            self.store.add("jobs", child)
        elif _true(job, "Complete"):
            self._condition(parent, complete, "AllJobsCompleted", "jobset completed successfully")
        elif end := _true(job, "Failed"):
            text = f"jobset failed due to one or more job failures: {end['message']}"
            self._condition(parent, "Failed", "FailedJobs", text)
        self.store.put(plural, parent)


def _jobset_child(parent: Thing) -> Thing:
    part = parent["spec"]["replicatedJobs"][0]
    name = f"{parent['metadata']['name']}-{part['name']}-0"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": copy.deepcopy(part["template"]["spec"]),
    }


def _trainjob_child(parent: Thing) -> Thing:
    trainer, patch = parent["spec"]["trainer"], parent["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]
    template = patch["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    container = {
        "name": "node",
        "image": trainer["image"],
        "command": trainer["command"],
        "env": [
            *trainer["env"],
            {"name": "PET_NNODES", "value": str(trainer["numNodes"])},
            {"name": "PET_NPROC_PER_NODE", "value": str(trainer["numProcPerNode"])},
        ],
    }
    spec = {
        "completionMode": "Indexed",
        "completions": trainer["numNodes"],
        "parallelism": trainer["numNodes"],
        "backoffLimit": 0,
        "template": {"metadata": template["metadata"], "spec": {"containers": [container]}},
    }
    name = f"{parent['metadata']['name']}-node-0"
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": copy.deepcopy(spec)}


def _true(thing: Thing, name: str) -> Thing | None:
    conditions = thing.get("status", {}).get("conditions") or ()
    return next((found for found in conditions if found["type"] == name and found["status"] == "True"), None)


def _owned(thing: Thing, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in thing["metadata"].get("ownerReferences") or ())


def _over(pod: Thing) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _index(pod: Thing) -> int:
    return int(pod["metadata"]["annotations"].get(INDEX, 0))


def _policy(pod: Thing, policy: Thing) -> tuple[str, str]:
    """(action, message) of the first rule that fits."""
    meta = pod["metadata"]
    end = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    name = pod["spec"]["containers"][0]["name"]
    for number, rule in enumerate(policy.get("rules", ())):
        for wanted in rule.get("onPodConditions", ()):
            if _true(pod, wanted["type"]):
                return rule["action"], ""
        codes = rule.get("onExitCodes")
        if not codes or codes.get("containerName", name) != name:
            continue
        if (end["exitCode"] in codes["values"]) == (codes["operator"] == "In"):
            message = (
                f"Container {name} for pod {meta['namespace']}/{meta['name']} failed with exit code "
                f"{end['exitCode']} matching {rule['action']} rule at index {number}"
            )
            return rule["action"], message
    return "Count", ""


def _seen(when: str | Callable[[], bool], process: Process) -> bool:
    return when() if callable(when) else not when or any(when in line for _, line in list(process.lines))


def _kill(popen: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, number)
