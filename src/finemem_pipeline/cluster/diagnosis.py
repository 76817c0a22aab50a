"""What a job is doing, and why it does not start: from the job, its pods and their events.

A Job itself never says why it is stuck: it counts one active pod while an image cannot be pulled, and none while
quota or Pod Security refuse every pod. The reasons stand in the pods and in the events.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finemem_pipeline.cluster.kinds import Kind, condition, ended
from finemem_pipeline.cluster.render import CONTAINER, QUEUE
from finemem_pipeline.cluster.seam import Manifest, PodEnd
from finemem_pipeline.stopping import RESUME_EXIT_CODE

CONTAINERS = (CONTAINER, "node")
"""What the container with the work is called; `node` in a TrainJob."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One reason why pods do not start."""

    kind: str
    text: str
    advice: str
    passing: bool
    """It may go away by itself: a node becomes free, a registry answers again. Otherwise a person must mend it."""

    def __str__(self) -> str:
        return f"{self.text} {self.advice}"


@dataclass(frozen=True, slots=True)
class State:
    """As it stands now."""

    phase: str
    """queued, paused, pending, running, finishing, succeeded, failed."""
    detail: str
    troubles: tuple[Trouble, ...]
    ready: int
    expected: int


def diagnose(job: Manifest, kind: Kind, pods: Sequence[Manifest], events: Sequence[Manifest]) -> State:
    """`events` may be those of the whole namespace."""
    expected = _expected(job)
    live = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp") and not _over(pod)]
    running = [pod for pod in live if pod.get("status", {}).get("phase") == "Running"]
    done = {pod_end(pod).rank for pod in pods if pod.get("status", {}).get("phase") == "Succeeded"}
    end = ended(job, kind)
    if end is not None:
        phase = "succeeded" if end["type"] == kind.complete else "failed"
        return State(phase, _sentence(end), (), len(running), expected)
    if job["metadata"].get("deletionTimestamp"):
        return State("finishing", "It is being deleted.", (), len(running), expected)
    if job["spec"].get("suspend"):
        queue = job["metadata"].get("labels", {}).get(QUEUE)
        if queue:
            return State("queued", f"It waits for its turn in the queue '{queue}'.", (), len(running), expected)
        return State("paused", "It is suspended; somebody has to resume it.", (), len(running), expected)
    early = condition(job, "FailureTarget") or condition(job, "SuccessCriteriaMet")
    if early or len(done) == expected:
        return State("finishing", "Its pods come to an end.", (), len(running), expected)
    own = about(job, pods, events)
    troubles = [found for pod in live for found in _pod_troubles(pod, own)]
    if len(live) + len(done) < expected:
        troubles += _refused(pods, own)
    unique = tuple({trouble.kind: trouble for trouble in reversed(troubles)}.values())
    phase = "running" if len(running) + len(done) == expected else "pending"
    return State(phase, str(unique[0]) if unique else "", unique, len(running), expected)


def names(job: str, pods: Sequence[Manifest]) -> tuple[str, ...]:
    """What its events are about: the job, the job that a set makes for its nodes, the pods."""
    return (job, f"{job}-node-0", *(pod["metadata"]["name"] for pod in pods))


def about(job: Manifest, pods: Sequence[Manifest], events: Sequence[Manifest]) -> list[Manifest]:
    """The events of this job. An earlier one of the same name may have left some, which have another uid."""
    uids = {thing["metadata"]["name"]: thing["metadata"]["uid"] for thing in (job, *pods)}
    wanted = names(job["metadata"]["name"], pods)
    return [
        event
        for event in events
        if (involved := event["involvedObject"]).get("name") in wanted
        and involved.get("uid") == uids.get(involved["name"], involved.get("uid"))
    ]


def _expected(job: Manifest) -> int:
    """Pods at once."""
    spec = job["spec"]
    if "replicatedJobs" in spec:
        return sum(int(part["template"]["spec"].get("parallelism", 1)) for part in spec["replicatedJobs"])
    return int(spec.get("trainer", {}).get("numNodes") or spec.get("parallelism", 1))


def _over(pod: Manifest) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _sentence(condition: dict[str, Any]) -> str:
    return ": ".join(part for part in (condition.get("reason"), condition.get("message")) if part)


# Pods that are not created.

REFUSALS: tuple[tuple[str, str, str, bool], ...] = (
    ("exceeded quota", "quota", "It starts once others have ended; or ask for less, or for a larger quota.", True),
    (
        "violates PodSecurity",
        "pod security",
        "The namespace allows no such pod: mend what the message lists, or the level of the namespace.",
        False,
    ),
    (
        "serviceaccount",
        "service account",
        "Create it (kubectl apply --kustomize k8s/overlays/gpu-1), or name another.",
        False,
    ),
    ("Internal error", "admission", "An admission webhook does not answer.", True),
    ("", "admission", "Mend what the message says.", False),
)


def _refused(pods: Sequence[Manifest], events: Sequence[Manifest]) -> list[Trouble]:
    """Refused by admission after the newest pod was made, if any was."""
    newest = max((pod["metadata"].get("creationTimestamp") or "" for pod in pods), default="")
    pod_names = {pod["metadata"]["name"] for pod in pods}
    refused = [
        event
        for event in events
        if event.get("reason") == "FailedCreate"
        and event.get("involvedObject", {}).get("name") not in pod_names
        and (seen(event) or newest) >= newest
    ]
    if not refused:
        return []
    message = max(refused, key=seen).get("message", "")
    for words, kind, advice, passing in REFUSALS:
        if words in message:
            return [Trouble(kind, f"No pod can be created: {_full_stop(message)}", advice, passing)]
    raise AssertionError("the last row matches everything")


def seen(event: Manifest) -> str:
    """When it was last observed, in ISO 8601 to the second. The scheduler leaves lastTimestamp empty."""
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return (last or event.get("metadata", {}).get("creationTimestamp") or "")[:19] + "Z"


# Pods that are there and do not run.


def _pod_troubles(pod: Manifest, events: Sequence[Manifest]) -> list[Trouble]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for found in status.get("conditions") or ():
        if found.get("type") == "PodScheduled" and found.get("status") == "False":
            return [_unscheduled(name, found)] if found.get("reason") == "Unschedulable" else []
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = container.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in WAITING:
            kind, advice, passing = WAITING[reason](message)
            return [Trouble(kind, f"Pod {name}: {_full_stop(f'{reason}: {message}')}", advice, passing)]
    if status.get("phase") == "Pending":
        return _not_mounted(name, events)
    return []


def _unscheduled(name: str, found: dict[str, Any]) -> Trouble:
    message = found.get("message", "")
    text = f"Pod {name} finds no node: {_full_stop(message)}"
    if "persistentvolumeclaim" in message and "not found" in message:
        return Trouble("volume claim", text, "Create the claim, or name one that exists.", passing=False)
    if "nvidia.com/gpu" in message:
        return Trouble("gpu", text, "It starts once GPUs are free or a node is added; fewer GPUs may fit now.", True)
    return Trouble("scheduling", text, "It starts once a node has room for it and matches its selectors.", True)


def _not_mounted(name: str, events: Sequence[Manifest]) -> list[Trouble]:
    failed = [
        event
        for event in events
        if event.get("reason") in ("FailedMount", "FailedAttachVolume") and event["involvedObject"].get("name") == name
    ]
    if not failed:
        return []
    message = max(failed, key=seen).get("message", "")
    missing = "not found" in message
    advice = "Create what is missing." if missing else "The volume may still be attached elsewhere."
    return [Trouble("volume", f"Pod {name}: a volume cannot be mounted: {_full_stop(message)}", advice, not missing)]


WRONG_IMAGE = ("not found", "manifest unknown", "denied", "unauthorized", "forbidden")


def _image(message: str) -> tuple[str, str, bool]:
    if any(word in message.lower() for word in WRONG_IMAGE):
        return "image", "Check the name of the image, and that the pull secret of the namespace may read it.", False
    return "image", "The registry may be busy or out of reach; it is tried again.", True


WAITING: dict[str, Callable[[str], tuple[str, str, bool]]] = {
    "ErrImagePull": _image,
    "ImagePullBackOff": _image,
    "InvalidImageName": lambda message: ("image", "Mend the name of the image.", False),
    "ErrImageNeverPull": lambda message: ("image", "The node does not have the image and may not pull it.", False),
    "CreateContainerConfigError": lambda message: (
        "configuration",
        "Create the Secret or its key in the namespace, or name another under secret_env.",
        False,
    ),
    "CreateContainerError": lambda message: ("container", "The node cannot start the container.", False),
    "RunContainerError": lambda message: ("container", "The node cannot start the container.", False),
}
"""By the reason a container waits for; other reasons (ContainerCreating, PodInitializing) are the way to a start."""


def _full_stop(text: str) -> str:
    text = text.strip().rstrip(":")
    return text if text.endswith(".") else f"{text}."


# Pods that have ended.


def pod_end(pod: Manifest) -> PodEnd:
    """How its container ended; exit_code None while it has not."""
    status = pod.get("status", {})
    annotations, labels = pod["metadata"].get("annotations") or {}, pod["metadata"].get("labels") or {}
    index = "batch.kubernetes.io/job-completion-index"
    ended = terminated(pod)
    return PodEnd(
        pod=pod["metadata"]["name"],
        rank=int(annotations.get(index) or labels.get(index) or 0),
        node=pod.get("spec", {}).get("nodeName") or "",
        exit_code=ended.get("exitCode"),
        reason=ended.get("reason") or status.get("reason") or "",
        preempted=condition(pod, "DisruptionTarget") is not None,
    )


def terminated(pod: Manifest) -> dict[str, Any]:
    """The end of the container with the work, or nothing."""
    for container in pod.get("status", {}).get("containerStatuses") or ():
        if container.get("name") in CONTAINERS:
            return dict(container.get("state", {}).get("terminated") or {})
    return {}


def guilty(pods: Sequence[Manifest], message: str) -> Manifest | None:
    """The pod that made the job fail: the one the message names, or the first whose end nobody asked for, or the first
    that its node did not take."""
    for pod in pods:
        if f"/{pod['metadata']['name']} " in message:
            return pod
    faults = [pod for pod in pods if terminated(pod).get("exitCode") and not condition(pod, "DisruptionTarget")]
    unasked = [pod for pod in faults if terminated(pod)["exitCode"] not in (RESUME_EXIT_CODE, 128 + signal.SIGTERM)]
    first = min(unasked, key=lambda pod: terminated(pod).get("finishedAt") or "", default=None)
    return first or next((pod for pod in pods if _not_taken(pod)), None)


def _not_taken(pod: Manifest) -> bool:
    """It has failed before its container ran: UnexpectedAdmissionError, OutOfcpu, NodeAffinity, ..."""
    status = pod.get("status", {})
    failed = status.get("phase") == "Failed" and bool(status.get("reason")) and not terminated(pod)
    return failed and not condition(pod, "DisruptionTarget")
