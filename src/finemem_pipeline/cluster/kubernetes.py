"""The cluster behind a kubeconfig, or the one that this pod runs in."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from finemem_pipeline.cluster import api as rest
from finemem_pipeline.cluster import checks, logs
from finemem_pipeline.cluster.api import Api, Refusal, Unreachable
from finemem_pipeline.cluster.diagnosis import diagnose
from finemem_pipeline.cluster.kinds import EVENT, JOB, JOBS, KINDS, POD, Kind, ended
from finemem_pipeline.cluster.mirror import Mirror
from finemem_pipeline.cluster.outcomes import Outcomes
from finemem_pipeline.cluster.render import JOB as JOB_LABEL
from finemem_pipeline.cluster.render import LAUNCH_ENV, MANAGED_BY, MANAGER, PROJECT, SPEC, SPEC_HASH
from finemem_pipeline.cluster.seam import Cluster, Finding, Handle, Manifest, Notice, Outcome, Status
from finemem_pipeline.cluster.spec import ClusterError, JobSpec
from finemem_pipeline.cluster.watch import Mirrors, Vigil, image_of, outcome_of, remove, tail
from finemem_pipeline.errors import unknown

LOOK_SECONDS = 0.5
"""Between two looks at the mirrors; no request is made for a look."""
GONE_SECONDS = 600.0


class KubernetesCluster(Cluster):
    """See `Cluster`. Threads may share one."""

    def __init__(self, api: Api, outcomes: Outcomes, patience: float = 900.0, short_patience: float = 120.0) -> None:
        self.api, self.outcomes = api, outcomes
        self.patience, self.short_patience = patience, short_patience
        self._mirrors: dict[tuple[str, str], Mirror] = {}
        self._lock = threading.Lock()

    @classmethod
    def connect(
        cls,
        context: str | None = None,
        kubeconfig: Path | None = None,
        outcomes: str | None = None,
        patience: float = 900.0,
        short_patience: float = 120.0,
        timeout: float = 3.0,
    ) -> KubernetesCluster:
        """Find the cluster and speak to it once. Raises ClusterError within `timeout` seconds, naming what was tried.

        `outcomes`: a folder or fsspec URL for records of how jobs ended. `patience`: seconds a job may be held up by
        what can pass (no node free, quota used up, registry down); `short_patience`: by what a person must mend.
        """
        return cls(rest.connect(context, kubeconfig, timeout), Outcomes(outcomes), patience, short_patience)

    def close(self) -> None:
        """End the watches."""
        with self._lock:
            for mirror in self._mirrors.values():
                mirror.stop()
            self._mirrors.clear()

    def check(self, namespace: str, specs: Sequence[JobSpec] = (), backend: str = "job") -> list[Finding]:
        return checks.check(self.api, namespace, specs, backend)

    def submit(self, manifests: Sequence[Manifest]) -> Handle:
        head, *rest_of_it = manifests
        kind, namespace, name = KINDS[head["kind"]], head["metadata"]["namespace"], head["metadata"]["name"]
        job, created = self._create_or_find(kind, head)
        if isinstance(job, Outcome):
            return Handle(name, namespace, kind.name, job.uid, job.spec_hash, outcome=job)
        for manifest in rest_of_it:
            self._create_owned(manifest, job)
        return self._handle(job, kind, created)

    def find(self, name: str, namespace: str) -> Handle:
        for kind in JOBS if re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", name) else ():
            try:
                job = self.api.request("GET", kind.path(namespace, name))
                _is_ours(job)
                return self._handle(job, kind)
            except Refusal as refusal:
                if refusal.code != 404 and not (refusal.code == 403 and kind is not JOB):
                    raise ClusterError(f"{self.api.where}: {refusal}") from refusal
        recorded = self.outcomes.read(namespace, name) if "/" not in name else None
        if recorded is not None:
            return Handle(name, namespace, JOB.name, recorded.uid, recorded.spec_hash, outcome=recorded)
        there = [status.name for status in self.status(namespace, project="")]
        raise ClusterError(
            unknown(f"namespace '{namespace}'", name, there, "job, and no outcome of it is recorded")
            + " To run it, submit it: what an earlier run has saved is found again."
        )

    def wait(
        self,
        handle: Handle,
        on_notice: Callable[[Notice], None] | None = None,
        leave: threading.Event | None = None,
    ) -> Outcome | None:
        if handle.outcome is not None:
            return handle.outcome
        vigil = Vigil(
            self.api,
            self._watch(handle.namespace, KINDS[handle.kind]),
            self.outcomes,
            handle,
            on_notice or (lambda notice: None),
            self.patience,
            self.short_patience,
        )
        leave = leave or threading.Event()
        while not leave.is_set():
            try:
                outcome = vigil.look()
            except Unreachable as fault:  # in the middle of something that is begun anew
                vigil.notice_lost(fault)
                outcome = None
            if outcome is not None:
                return outcome
            leave.wait(LOOK_SECONDS)
        return None

    def logs(
        self,
        handle: Handle,
        follow: bool = False,
        ranks: Collection[int] | None = (0,),
        tail: int | None = None,
        leave: threading.Event | None = None,
    ) -> Iterator[tuple[int, str]]:
        kind = KINDS[handle.kind]
        if handle.outcome is not None:  # the cluster has forgotten its pods
            guilty = next((pod.rank for pod in handle.outcome.pods if pod.pod == handle.outcome.guilty), 0)
            yield from ((guilty, line) for line in handle.outcome.log_tail[-(tail or 0) :])
            return
        if not follow:
            yield from logs.read(self.api, self._pods(handle), ranks, tail)
            return
        mirrors = self._watch(handle.namespace, kind)
        if ranks is None:
            job = self.api.request("GET", kind.path(handle.namespace, handle.name))
            ranks = range(diagnose(job, kind, (), ()).expected)

        def over() -> bool:
            job = next((job for job in mirrors.jobs.of(handle.name) if job["metadata"]["uid"] == handle.uid), None)
            if job is None:  # not there any more, or not yet to be seen
                job = self._get(kind, handle.namespace, handle.name)
            return job is None or job["metadata"]["uid"] != handle.uid or ended(job, kind) is not None

        def pods(finished: bool) -> list[Manifest]:
            return self._pods(handle) if finished else mirrors.pods.of(handle.name)

        yield from logs.follow(self.api, handle, pods, over, ranks, leave or threading.Event())

    def delete(self, handle: Handle) -> Outcome:
        kind = KINDS[handle.kind]
        if handle.outcome is not None:
            outcome = handle.outcome
        else:
            job = self._get(kind, handle.namespace, handle.name)
            if job is not None and ended(job, kind):
                outcome = outcome_of(job, kind, self._pods(handle), lambda pod: tail(self.api, pod))
            else:
                pods = self._pods(handle)
                outcome = Outcome(
                    name=handle.name,
                    namespace=handle.namespace,
                    status="cancelled",
                    reason="Cancelled",
                    message="It was cancelled. Submit it again to go on from what it has saved.",
                    uid=handle.uid,
                    spec_hash=handle.spec_hash,
                    image=image_of(pods, job),
                    finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                )
        remove(self.api, kind, handle)
        unkept = ""
        try:
            self.outcomes.write(outcome)
        except ClusterError as fault:
            unkept = str(fault)
        self._await_gone(kind, handle)
        if unkept:
            raise ClusterError(f"'{handle.name}' is removed from the cluster. {unkept}")
        return outcome

    def status(self, namespace: str, project: str = "finemem") -> list[Status]:
        selector = f"{MANAGED_BY}={MANAGER}" + (f",{PROJECT}={project}" if project else "")
        try:
            pods = self.api.items(POD.path(namespace), {"labelSelector": selector})[0]
        except Refusal as refusal:
            raise ClusterError(f"{self.api.where}: {refusal}") from refusal
        try:
            events = self.api.items(EVENT.path(namespace))[0]
        except Refusal:
            events = []  # then pods alone tell why they do not start
        lines = []
        for kind in JOBS:
            try:
                jobs = self.api.items(kind.path(namespace), {"labelSelector": selector})[0]
            except Refusal as refusal:
                if kind is JOB:
                    raise ClusterError(f"{self.api.where}: {refusal}") from refusal
                continue  # the controller of this kind is not installed, or not ours to use
            lines += [_status(job, kind, pods, events) for job in jobs if not job["metadata"].get("ownerReferences")]
        return sorted(lines, key=lambda line: line.age_seconds)

    # Submitting.

    def _create_or_find(self, kind: Kind, head: Manifest) -> tuple[Manifest | Outcome, bool]:
        """(the job on the cluster, whether this made it), or the recorded outcome of one that succeeded before."""
        namespace, name = head["metadata"]["namespace"], head["metadata"]["name"]
        until = time.monotonic() + GONE_SECONDS
        while time.monotonic() < until:
            there = self._get(kind, namespace, name)
            if there is None:
                recorded = self.outcomes.read(namespace, name)
                if recorded is not None and recorded.succeeded:
                    return recorded, False
                try:
                    return self._post(kind, namespace, head), True
                except Refusal as refusal:
                    if refusal.code != 409:
                        raise
                continue  # somebody was faster, or a lost reply was ours: look again
            if there["metadata"].get("deletionTimestamp"):
                time.sleep(1.0)
                continue
            _same_work(head, there)
            end = ended(there, kind)
            if end is None or end["type"] != "Failed":
                return there, False
            self._keep_outcome(kind, there)
            remove(self.api, kind, self._handle(there, kind))
        raise ClusterError(
            f"The {kind.name} '{name}' in namespace '{namespace}' has been going away for {GONE_SECONDS:.0f} s. Look "
            f"for pods that cannot end: kubectl get pods --namespace {namespace} --selector {JOB_LABEL}={name}"
        )

    def _post(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        try:
            return self.api.request("POST", kind.path(namespace), body=manifest)
        except Refusal as refusal:
            raise Refusal(refusal.code, refusal.reason, _advice(refusal, kind, namespace, manifest)) from refusal

    def _create_owned(self, manifest: Manifest, job: Manifest) -> None:
        """Goes when its job goes. One that belongs to an earlier job of this name makes room first."""
        kind, meta = KINDS[manifest["kind"]], manifest["metadata"]
        owner = {
            "apiVersion": job["apiVersion"],
            "kind": job["kind"],
            "name": job["metadata"]["name"],
            "uid": job["metadata"]["uid"],
        }
        manifest = {**manifest, "metadata": {**meta, "ownerReferences": [owner]}}
        until = time.monotonic() + GONE_SECONDS
        while time.monotonic() < until:
            try:
                self._post(kind, meta["namespace"], manifest)
                return
            except Refusal as refusal:
                if refusal.code != 409:
                    raise
            there = self._get(kind, meta["namespace"], meta["name"])
            owners = [] if there is None else there["metadata"].get("ownerReferences") or []
            if there is not None and any(other["uid"] == owner["uid"] for other in owners):
                return
            if there is not None and there["metadata"].get("labels", {}).get(MANAGED_BY) != MANAGER:
                raise ClusterError(
                    f"A {kind.name} '{meta['name']}' is in namespace '{meta['namespace']}' already, and it was not "
                    f"made by this launcher."
                )
            if there is not None:
                remove(self.api, kind, Handle(meta["name"], meta["namespace"], kind.name, there["metadata"]["uid"], ""))
                time.sleep(0.5)
        raise ClusterError(f"The {kind.name} '{meta['name']}' of an earlier job does not go away.")

    def _keep_outcome(self, kind: Kind, job: Manifest) -> None:
        """Before a job that has failed makes room for the next try."""
        handle = self._handle(job, kind)
        self.outcomes.write(outcome_of(job, kind, self._pods(handle), lambda pod: tail(self.api, pod)))

    def _handle(self, job: Manifest, kind: Kind, created: bool = False) -> Handle:
        meta = job["metadata"]
        annotations = meta.get("annotations") or {}
        handle = Handle(
            name=meta["name"],
            namespace=meta["namespace"],
            kind=kind.name,
            uid=meta["uid"],
            spec_hash=annotations.get(SPEC_HASH, ""),
            created=created,
            launch_env=json.loads(annotations.get(LAUNCH_ENV) or "{}"),
        )
        return handle

    # Looking.

    def _get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        try:
            return self.api.request("GET", kind.path(namespace, name))
        except Refusal as refusal:
            if refusal.code == 404:
                return None
            raise ClusterError(f"{self.api.where}: {refusal}") from refusal

    def _pods(self, handle: Handle) -> list[Manifest]:
        return self.api.items(POD.path(handle.namespace), {"labelSelector": f"{JOB_LABEL}={handle.name}"})[0]

    def _watch(self, namespace: str, kind: Kind) -> Mirrors:
        return Mirrors(
            jobs=self._mirror(kind, namespace, lambda job: str(job["metadata"]["name"]), f"{MANAGED_BY}={MANAGER}"),
            pods=self._mirror(POD, namespace, lambda pod: str(pod["metadata"]["labels"][JOB_LABEL]), JOB_LABEL),
            events=self._mirror(
                EVENT, namespace, lambda event: str(event["involvedObject"].get("name", "")), keep_gone=False
            ),
        )

    def _mirror(
        self,
        kind: Kind,
        namespace: str,
        key: Callable[[Manifest], str],
        selector: str = "",
        keep_gone: bool = True,
    ) -> Mirror:
        with self._lock:
            if (kind.plural, namespace) not in self._mirrors:
                query = {"labelSelector": selector} if selector else {}
                self._mirrors[kind.plural, namespace] = Mirror(self.api, kind, namespace, key, query, keep_gone)
            return self._mirrors[kind.plural, namespace]

    def _await_gone(self, kind: Kind, handle: Handle) -> None:
        until = time.monotonic() + GONE_SECONDS
        while time.monotonic() < until:
            there = self._get(kind, handle.namespace, handle.name)
            if (there is None or there["metadata"]["uid"] != handle.uid) and not self._pods(handle):
                return
            time.sleep(0.5)
        raise ClusterError(
            f"'{handle.name}' was deleted, but its pods have not ended within {GONE_SECONDS:.0f} s. Is the node gone? "
            f"kubectl get pods --namespace {handle.namespace} --selector {JOB_LABEL}={handle.name} --output wide"
        )


def _is_ours(there: Manifest, advice: str = "It is left alone.") -> None:
    """Raises ClusterError if somebody else made the job."""
    meta = there["metadata"]
    if (meta.get("labels") or {}).get(MANAGED_BY) != MANAGER:
        raise ClusterError(
            f"{there['kind']} '{meta['name']}' in namespace '{meta['namespace']}' is there already, and it was not "
            f"made by this launcher. {advice}"
        )


def _same_work(asked: Manifest, there: Manifest) -> None:
    """Raises ClusterError unless the job on the cluster is the one that is asked for."""
    meta = there["metadata"]
    where = f"{there['kind']} '{meta['name']}' in namespace '{meta['namespace']}'"
    _is_ours(there, "Delete it or rename yours.")
    annotations, wanted = meta.get("annotations") or {}, asked["metadata"]["annotations"]
    if annotations.get(SPEC_HASH) == wanted[SPEC_HASH]:
        return
    old, new = json.loads(annotations.get(SPEC) or "{}"), json.loads(wanted[SPEC])
    differs = [
        f"  {field}: {json.dumps(old.get(field))} there, {json.dumps(value)} asked for"
        for field, value in new.items()
        if old.get(field) != value
    ]
    lines = "\n".join(differs or ["  the manifests that this version of the package writes"])
    raise ClusterError(
        f"{where} does the same work with another specification, and the pods of a job cannot be changed:\n{lines}\n"
        f"Attach to it as it is, or cancel it first: python -m finemem_pipeline.cluster cancel {meta['name']} "
        f"--namespace {meta['namespace']}"
    )


def _advice(refusal: Refusal, kind: Kind, namespace: str, manifest: Manifest) -> str:
    what = f"The {kind.name} '{manifest['metadata']['name']}' was not created in namespace '{namespace}'"
    if refusal.code == 404 and "namespaces" in str(refusal):
        return f"{what}: there is no such namespace. Create it: kubectl apply --kustomize k8s/overlays/gpu-1"
    if refusal.code == 404 and kind is not JOB:
        return (
            f"{what}: the cluster knows no {kind.name}. Its controller has to be installed, or use the backend 'job'."
        )
    if refusal.code == 403 and "exceeded quota" in str(refusal):
        return f"{what}: {refusal}. Cancel or remove other jobs, or ask for a larger quota."
    if refusal.code == 403:
        return f"{what}: {refusal}. The launcher needs the role finemem-launcher of k8s/base/accounts.yaml."
    return f"{what}: {refusal}"


def _status(job: Manifest, kind: Kind, pods: list[Manifest], events: list[Manifest]) -> Status:
    name = job["metadata"]["name"]
    own = [pod for pod in pods if pod["metadata"].get("labels", {}).get(JOB_LABEL) == name]
    state = diagnose(job, kind, own, events)
    created = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    return Status(
        name=name,
        namespace=job["metadata"]["namespace"],
        kind=kind.name,
        state="stuck" if state.troubles else state.phase,
        detail="" if state.phase == "succeeded" else state.detail,
        pods=f"{state.ready}/{state.expected}",
        age_seconds=max(0.0, time.time() - created.timestamp()),  # the cluster may have a clock of its own
    )
