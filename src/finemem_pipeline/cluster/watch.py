"""Waiting for one job: what to say meanwhile, when to give up, and what is kept of its end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from finemem_pipeline.cluster.api import Api, Refusal, Unreachable
from finemem_pipeline.cluster.diagnosis import CONTAINERS, State, Trouble, diagnose, guilty, names, pod_end, terminated
from finemem_pipeline.cluster.kinds import JOB, KINDS, POD, Kind, ended
from finemem_pipeline.cluster.logs import container_of
from finemem_pipeline.cluster.mirror import Mirror
from finemem_pipeline.cluster.outcomes import Outcomes
from finemem_pipeline.cluster.render import JOB as JOB_LABEL
from finemem_pipeline.cluster.render import SPEC_HASH
from finemem_pipeline.cluster.seam import Handle, Manifest, Notice, Outcome, PodEnd
from finemem_pipeline.cluster.spec import ClusterError
from finemem_pipeline.stopping import RESUME_EXIT_CODE

TAIL_LINES = 30
SILENCE_SECONDS = 5.0
"""Without a word from the server before that is said."""


REFUSED_SECONDS = 60.0
"""Of being refused what was allowed before: a server that starts does so for a moment, a right taken back for good."""


@dataclass(frozen=True, slots=True)
class Mirrors:
    jobs: Mirror
    pods: Mirror
    events: Mirror

    def of(self, name: str, pods: list[Manifest]) -> list[Manifest]:
        """The events of a job and of these pods."""
        return [event for about in names(name, pods) for event in self.events.of(about)]


class Vigil:
    """One job, watched from now on. `look` says what is new and returns the outcome once there is one."""

    def __init__(
        self,
        api: Api,
        mirrors: Mirrors,
        outcomes: Outcomes,
        handle: Handle,
        tell: Callable[[Notice], None],
        patience: float,
        short_patience: float,
    ) -> None:
        self.api, self.mirrors, self.outcomes, self.handle = api, mirrors, outcomes, handle
        self.kind: Kind = KINDS[handle.kind]
        self.patience, self.short_patience = patience, short_patience
        self._tell = tell
        self._phase = self._made = ""
        self._pods: dict[str, Manifest] = {}
        self._tails: dict[str, tuple[str, ...]] = {}
        self._preempted: set[str] = set()
        self._troubles: dict[str, tuple[Trouble, float]] = {}
        self._lost_since: float | None = None
        self._confirm_at = 0.0

    def look(self) -> Outcome | None:
        self._notice_silence()
        job = next((job for job in self.mirrors.jobs.of(self.handle.name) if self._same(job)), None)
        last = next((job for job in self.mirrors.jobs.gone(self.handle.name) if self._same(job)), None)
        if job is None and last is not None and ended(last, self.kind):
            self._made = str(last["metadata"]["creationTimestamp"])
            return self._record(self._outcome(last))
        if job is None:
            found = self._confirm()
            if isinstance(found, Outcome) or found is None:
                return found
            job = found
        self._made = str(job["metadata"]["creationTimestamp"])
        pods = [pod for pod in self.mirrors.pods.of(self.handle.name) if self._own(pod)]
        self._notice_pods(pods)
        state = diagnose(job, self.kind, pods, self.mirrors.of(self.handle.name, pods))
        if state.phase in ("succeeded", "failed"):
            return self._record(self._outcome(job))
        self._notice_phase(state)
        return self._lose_patience(job, state)

    def _same(self, job: Manifest) -> bool:
        return bool(job["metadata"]["uid"] == self.handle.uid)

    def _own(self, pod: Manifest) -> bool:
        """Not of an earlier job of this name. The pods of a set belong to a job that the set has made."""
        if self.kind is JOB:
            return any(owner["uid"] == self.handle.uid for owner in pod["metadata"].get("ownerReferences") or ())
        return bool(pod["metadata"]["creationTimestamp"] >= self._made)

    # What is said.

    def _say(self, kind: Any, text: str) -> None:
        self._tell(Notice(kind, text, time.time()))

    def _notice_silence(self) -> None:
        for mirror in (self.mirrors.jobs, self.mirrors.pods):
            if isinstance(mirror.fault, Refusal) and not mirror.fresh:
                raise ClusterError(f"{self.api.where} does not let you watch {mirror.name}: {mirror.fault}")
            taken_back = isinstance(mirror.fault, Refusal) and not _unknown(mirror.fault)
            if taken_back and _long_ago(mirror.lost_at, REFUSED_SECONDS):
                raise ClusterError(
                    f"{self.api.where} does not let you watch {mirror.name} any more: {mirror.fault}. The job is not "
                    "touched by that: have the right given back, and give the same command to attach to it."
                )
            if mirror.fault is not None and not isinstance(mirror.fault, Refusal | Unreachable):
                raise mirror.fault
        jobs = self.mirrors.jobs
        if (_unknown(jobs.fault) or isinstance(jobs.fault, Unreachable)) and _long_ago(jobs.lost_at, SILENCE_SECONDS):
            assert jobs.fault is not None
            self.notice_lost(jobs.fault, jobs.lost_at)
        elif self._lost_since is not None and jobs.fault is None:
            self._say("connection", f"Connected again after {time.monotonic() - self._lost_since:.0f} s.")
            self._lost_since = None

    def notice_lost(self, fault: Exception, since: float | None = None) -> None:
        if self._lost_since is None:
            self._lost_since = since or time.monotonic()
            found = f"{self.api.where} does not know you any more; log in again"
            found = found if _unknown(fault) else f"No word from {fault}"
            self._say("connection", f"{found}. The job is not touched by that; it is tried again.")

    def _notice_phase(self, state: State) -> None:
        if state.phase == self._phase:
            return
        self._phase = state.phase
        pods = f"{state.ready} of {state.expected} pods run" if state.expected > 1 else ""
        if state.phase in ("queued", "paused"):
            self._say("queued", state.detail)
        elif state.phase == "running":
            self._say("running", pods or "Its pod runs.")
        elif state.phase == "pending":
            self._say("pending", pods or "Its pod starts.")
        else:
            self._say("ended", state.detail)

    def _notice_pods(self, pods: list[Manifest]) -> None:
        """Those that are there, and those that have gone since the last look."""
        found = [pod for pod in (*self.mirrors.pods.gone(self.handle.name), *pods) if self._own(pod)]
        for pod in sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"])):
            uid, before = pod["metadata"]["uid"], self._pods.get(pod["metadata"]["uid"])
            self._pods[uid] = pod
            end = pod_end(pod)
            if end.preempted and uid not in self._preempted:
                self._preempted.add(uid)
                self._say("preempted", f"Pod {end.pod} is preempted; another takes its place, and it does not count.")
            if before is None and any(self._replaces(pod, other) for other in self._pods.values()):
                self._say("restarted", f"Pod {end.pod} takes over rank {end.rank}.")
            if end.exit_code and uid not in self._tails:
                self._tails[uid] = self.tail(pod)
                if not end.preempted:
                    self._say("warning", f"Pod {end.pod} (rank {end.rank}) {how_it_ended(end, pod)}.")

    def _replaces(self, pod: Manifest, other: Manifest) -> bool:
        return (
            other["metadata"]["uid"] != pod["metadata"]["uid"]
            and pod_end(other).rank == pod_end(pod).rank
            and other["metadata"]["creationTimestamp"] <= pod["metadata"]["creationTimestamp"]
        )

    # When to give up.

    def _lose_patience(self, job: Manifest, state: State) -> Outcome | None:
        now = time.monotonic()
        current = {trouble.kind: trouble for trouble in state.troubles}
        for kind in [kind for kind in self._troubles if kind not in current]:
            del self._troubles[kind]
        for kind, trouble in current.items():
            limit = self.patience if trouble.passing else self.short_patience
            before, since = self._troubles.get(kind, (None, now))
            if before is None or before.passing != trouble.passing:
                self._say("stuck", f"{trouble} It is given {limit:.0f} s.")
            self._troubles[kind] = (trouble, since)
            if now - since > limit:
                return self._give_up(job, trouble, limit)
        return None

    def _give_up(self, job: Manifest, trouble: Trouble, limit: float) -> Outcome:
        outcome = Outcome(
            name=self.handle.name,
            namespace=self.handle.namespace,
            status="stuck",
            reason=trouble.kind,
            message=f"Its pods did not start within {limit:.0f} s, and it was removed. {trouble}",
            uid=self.handle.uid,
            spec_hash=self.handle.spec_hash,
            image=image_of(list(self._pods.values()), job),
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            pods=tuple(pod_end(pod) for pod in self._pods.values()),
        )
        remove(self.api, self.kind, self.handle)
        return self._record(outcome)

    # What is kept.

    def _confirm(self) -> Manifest | Outcome | None:
        """The mirror does not show the job: new, or gone? Its outcome if it is gone."""
        now = time.monotonic()
        if now < self._confirm_at or not self.mirrors.jobs.fresh:
            return None
        self._confirm_at = now + 2.0
        try:
            job = self.api.request("GET", self.kind.path(self.handle.namespace, self.handle.name), tries=1)
            if self._same(job):
                return job
        except Unreachable:
            return None
        except Refusal as refusal:
            if refusal.code != 404:
                raise
        recorded = self.outcomes.read(self.handle.namespace, self.handle.name)
        if recorded is not None and recorded.uid == self.handle.uid:
            return recorded
        return self._record(
            Outcome(
                name=self.handle.name,
                namespace=self.handle.namespace,
                status="cancelled",
                reason="Deleted",
                message="It was removed from the cluster before its end was seen. Submit it again to go on.",
                uid=self.handle.uid,
                spec_hash=self.handle.spec_hash,
                image=image_of(list(self._pods.values()), None),
                pods=tuple(pod_end(pod) for pod in self._pods.values()),
                preemptions=len(self._preempted),
            )
        )

    def _outcome(self, job: Manifest) -> Outcome:
        pods, _ = self.api.items(POD.path(self.handle.namespace), {"labelSelector": f"{JOB_LABEL}={self.handle.name}"})
        self._notice_pods(pods)
        outcome = outcome_of(job, self.kind, list(self._pods.values()), self.tail, self._tails)
        if outcome.reason == "DeadlineExceeded" and self._troubles:
            held_up = " ".join(str(trouble) for trouble, _ in self._troubles.values())
            outcome = replace(outcome, message=f"{outcome.message}. It was held up: {held_up}")
        self._say("ended", f"{outcome.status}: {outcome.message}" if outcome.message else outcome.status)
        return outcome

    def _record(self, outcome: Outcome) -> Outcome:
        """What became of the job is known; that it could not be written down does not change it."""
        try:
            self.outcomes.write(outcome)
        except ClusterError as fault:
            self._say("warning", str(fault))
        return outcome

    def tail(self, pod: Manifest) -> tuple[str, ...]:
        return tail(self.api, pod)


def _unknown(fault: Exception | None) -> bool:
    """Whether a login has expired: a new one is read as soon as it is there."""
    return isinstance(fault, Refusal) and fault.code == 401


def _long_ago(since: float | None, seconds: float) -> bool:
    return since is not None and time.monotonic() - since > seconds


def outcome_of(
    job: Manifest,
    kind: Kind,
    pods: list[Manifest],
    tail: Callable[[Manifest], tuple[str, ...]],
    tails: dict[str, tuple[str, ...]] | None = None,
) -> Outcome:
    """From a job that has ended and its pods. `tail` reads the last lines of a pod that are not in `tails`."""
    end = ended(job, kind)
    if end is None:
        raise AssertionError("the job has not ended")
    failed = end["type"] == "Failed"
    culprit = guilty(pods, end.get("message", "")) if failed else None
    message = end.get("message", "") if failed else ""
    lines: tuple[str, ...] = ()
    if culprit is not None:
        finish = pod_end(culprit)
        message = f"Pod {finish.pod} (rank {finish.rank}) {how_it_ended(finish, culprit)}. {message}"
        lines = (tails or {}).get(culprit["metadata"]["uid"]) or tail(culprit)
    return Outcome(
        name=job["metadata"]["name"],
        namespace=job["metadata"]["namespace"],
        status="failed" if failed else "succeeded",
        reason=end.get("reason") or "",
        message=message.strip(),
        uid=job["metadata"]["uid"],
        spec_hash=job["metadata"].get("annotations", {}).get(SPEC_HASH, ""),
        image=image_of(pods, job),
        started=job.get("status", {}).get("startTime") or job["metadata"].get("creationTimestamp"),
        finished=job.get("status", {}).get("completionTime") or end.get("lastTransitionTime"),
        pods=tuple(pod_end(pod) for pod in sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])),
        guilty=culprit["metadata"]["name"] if culprit is not None else "",
        log_tail=lines,
        preemptions=sum(pod_end(pod).preempted for pod in pods),
    )


def how_it_ended(end: PodEnd, pod: Manifest) -> str:
    """... the pod ended."""
    status = pod.get("status", {})
    if status.get("reason") and status.get("message"):  # Evicted, NodeShutdown, UnexpectedAdmissionError, ...
        code = "" if end.exit_code is None else f" (exit code {end.exit_code})"
        return f"was ended by its node{code}: {status['reason']}: {status['message'].strip().rstrip('.')}"
    if end.reason == "OOMKilled":
        limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
        return (
            f"ran out of memory: its limit is {limits.get('memory', 'that of the node')} (exit code {end.exit_code}). "
            f"Ask for more memory, or for smaller batches"
        )
    if end.exit_code == 128 + signal.SIGKILL:
        return f"was killed (exit code {end.exit_code}), most often for want of memory"
    if end.exit_code == RESUME_EXIT_CODE:
        return f"asks to be started again (exit code {RESUME_EXIT_CODE})"
    if end.exit_code is None:
        return f"ended without an exit code ({end.reason})" if end.reason else "did not end"
    return f"ended with exit code {end.exit_code}" + (f" ({end.reason})" if end.reason else "")


def image_of(pods: list[Manifest], job: Manifest | None) -> str:
    """As the nodes ran it; as it was asked for, if no pod has run yet."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses") or ():
            if container.get("name") in CONTAINERS and container.get("imageID"):
                return str(container["imageID"])
    for pod in pods:
        return str(pod["spec"]["containers"][0]["image"])
    spec = (job or {}).get("spec", {})
    if "replicatedJobs" in spec:
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    if "template" in spec:
        return str(spec["template"]["spec"]["containers"][0]["image"])
    return str(spec.get("trainer", {}).get("image", ""))


def tail(api: Api, pod: Manifest, lines: int = TAIL_LINES) -> tuple[str, ...]:
    """The last lines of its log; what the status of the pod kept of them, if the node is gone."""
    path = POD.path(pod["metadata"]["namespace"], pod["metadata"]["name"], "log")
    try:
        found = list(api.lines(path, {"container": container_of(pod), "tailLines": lines}, silence=10.0))
        if found:
            return tuple(line.decode(errors="replace") for line in found)
    except (Refusal, Unreachable):
        pass
    return tuple((terminated(pod).get("message") or "").splitlines()[-lines:])


def remove(api: Api, kind: Kind, handle: Handle) -> None:
    """Foreground: the job stays until its pods are gone. The API's own default would leave them running."""
    options: Manifest = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": handle.uid},
    }
    try:
        api.request("DELETE", kind.path(handle.namespace, handle.name), body=options)
    except Refusal as refusal:
        if refusal.code not in (404, 409):  # gone, or another job of this name by now
            raise
