"""What the state of a job, its pods and its events means: records as a real API server writes them."""

from __future__ import annotations

from typing import Any

import pytest

from finemem_pipeline.cluster.diagnosis import diagnose, guilty, pod_end, seen
from finemem_pipeline.cluster.kinds import JOB, JOBSET, TRAINJOB
from finemem_pipeline.cluster.watch import how_it_ended

Thing = dict[str, Any]


def a_job(*conditions: str, parallelism: int = 1, **spec: object) -> Thing:
    return {
        "metadata": {"name": "work-12345678", "uid": "job", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {}},
        "spec": {"parallelism": parallelism, **spec},
        "status": {
            "conditions": [{"type": name, "status": "True", "reason": "R", "message": "m"} for name in conditions]
        },
    }


def a_pod(phase: str = "Pending", name: str = "work-12345678-0-abcde", **status: object) -> Thing:
    meta = {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:05Z"}
    return {"metadata": meta, "spec": {"containers": [{"name": "worker"}]}, "status": {"phase": phase, **status}}


def waiting(reason: str, message: str = "") -> list[Thing]:
    return [{"name": "worker", "state": {"waiting": {"reason": reason, "message": message}}}]


def ended(code: int, at: str = "2026-01-01T01:00:00Z", reason: str = "Error") -> list[Thing]:
    return [{"name": "worker", "state": {"terminated": {"exitCode": code, "finishedAt": at, "reason": reason}}}]


def an_event(reason: str, message: str, about: str = "work-12345678", uid: str = "job", **times: object) -> Thing:
    return {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:10Z"},
        "involvedObject": {"name": about, "uid": uid},
        "reason": reason,
        "message": message,
        **times,
    }


@pytest.mark.parametrize("early", ["FailureTarget", "SuccessCriteriaMet"])
def test_a_job_whose_pods_still_end_is_not_over(early):
    assert diagnose(a_job(early), JOB, [a_pod("Running")], []).phase == "finishing"


def test_counters_end_nothing():
    job = a_job()
    job["status"] |= {"succeeded": 1, "failed": 3, "active": 0}
    assert diagnose(job, JOB, [a_pod("Running")], []).phase == "running"


@pytest.mark.parametrize(
    ("kind", "condition", "phase"),
    [
        (JOB, "Complete", "succeeded"),
        (JOB, "Failed", "failed"),
        (JOBSET, "Completed", "succeeded"),
        (JOBSET, "Failed", "failed"),
        (TRAINJOB, "Complete", "succeeded"),
    ],
)
def test_the_last_condition_ends_a_job(kind, condition, phase):
    state = diagnose(a_job(condition), kind, [], [])
    assert (state.phase, state.detail) == (phase, "R: m")


def test_a_condition_that_is_not_true_says_nothing():
    job = a_job("Complete")
    job["status"]["conditions"][0]["status"] = "False"
    assert diagnose(job, JOB, [a_pod("Running")], []).phase == "running"


def test_a_suspended_job_is_queued_if_it_has_a_queue_and_paused_otherwise():
    queued = a_job(suspend=True)
    queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "research"
    assert diagnose(queued, JOB, [], []).phase == "queued"
    assert diagnose(a_job(suspend=True), JOB, [], []).phase == "paused"


def test_a_job_of_two_pods_runs_when_both_do():
    job = a_job(parallelism=2)
    one, two = a_pod("Running", "work-12345678-0-a"), a_pod("Running", "work-12345678-1-b")
    assert (diagnose(job, JOB, [one], []).phase, diagnose(job, JOB, [one], []).ready) == ("pending", 1)
    assert diagnose(job, JOB, [one, two], []).phase == "running"


def test_the_way_to_a_start_is_no_trouble():
    for reason in ("ContainerCreating", "PodInitializing"):
        assert diagnose(a_job(), JOB, [a_pod(containerStatuses=waiting(reason))], []).troubles == ()


@pytest.mark.parametrize(
    ("reason", "message", "kind", "passing"),
    [
        ("ErrImagePull", "failed to resolve reference: not found", "image", False),
        ("ImagePullBackOff", "Back-off pulling image: 401 Unauthorized", "image", False),
        ("ImagePullBackOff", "toomanyrequests: rate limit", "image", True),
        ("InvalidImageName", "", "image", False),
        ("CreateContainerConfigError", 'secret "x" not found', "configuration", False),
        ("RunContainerError", "exec: python: not found", "container", False),
    ],
)
def test_a_container_that_waits_says_why(reason, message, kind, passing):
    (trouble,) = diagnose(a_job(), JOB, [a_pod(containerStatuses=waiting(reason, message))], []).troubles
    assert (trouble.kind, trouble.passing) == (kind, passing)
    assert reason in trouble.text


@pytest.mark.parametrize(
    ("message", "kind", "passing"),
    [
        ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "gpu", True),
        ("0/3 nodes are available: 3 node(s) had untolerated taint(s).", "scheduling", True),
        ('persistentvolumeclaim "data" not found', "volume claim", False),
    ],
)
def test_a_pod_without_a_node_says_why(message, kind, passing):
    found = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    (trouble,) = diagnose(a_job(), JOB, [a_pod(conditions=[found])], []).troubles
    assert (trouble.kind, trouble.passing) == (kind, passing)
    assert message.rstrip(".") in trouble.text


def test_a_pod_that_a_gate_holds_back_is_no_trouble():
    found = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gated"}
    assert diagnose(a_job(), JOB, [a_pod(conditions=[found])], []).troubles == ()


@pytest.mark.parametrize(
    ("message", "kind", "passing"),
    [
        ('pods "x" is forbidden: exceeded quota: gpu, requested: pods=1, used: pods=4, limited: pods=4', "quota", True),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged', "pod security", False),
        (
            'error looking up service account finemem/worker: serviceaccount "worker" not found',
            "service account",
            False,
        ),
        ('Internal error occurred: failed calling webhook "x"', "admission", True),
        ('admission webhook "policy" denied the request: no', "admission", False),
    ],
)
def test_pods_that_are_not_created_say_why(message, kind, passing):
    event = an_event("FailedCreate", f"Error creating: {message}", lastTimestamp="2026-01-01T00:00:10Z")
    (trouble,) = diagnose(a_job(), JOB, [], [event]).troubles
    assert (trouble.kind, trouble.passing) == (kind, passing)


def test_a_refusal_is_history_once_the_pod_is_there():
    event = an_event("FailedCreate", "exceeded quota", lastTimestamp="2026-01-01T00:00:01Z")
    assert diagnose(a_job(), JOB, [a_pod("Running")], [event]).troubles == ()


def test_the_job_that_a_set_makes_tells_of_its_refusals_too():
    event = an_event("FailedCreate", "exceeded quota", about="work-12345678-node-0", uid="child")
    spec = {"replicatedJobs": [{"template": {"spec": {"parallelism": 2}}}]}
    state = diagnose(a_job(**spec), JOBSET, [], [event])
    assert (state.expected, state.troubles[0].kind) == (2, "quota")


def test_events_of_an_earlier_job_of_the_name_are_not_taken_for_its_own():
    event = an_event("FailedCreate", "exceeded quota", uid="an earlier one")
    assert diagnose(a_job(), JOB, [], [event]).troubles == ()


def test_a_volume_that_cannot_be_mounted_is_told_by_events_alone():
    pod = a_pod(containerStatuses=waiting("ContainerCreating"))
    event = an_event("FailedMount", "timed out waiting", about=pod["metadata"]["name"], uid=pod["metadata"]["uid"])
    (trouble,) = diagnose(a_job(), JOB, [pod], [event]).troubles
    assert (trouble.kind, trouble.passing) == ("volume", True)


def test_an_event_of_the_scheduler_has_its_time_elsewhere():
    assert seen(an_event("FailedScheduling", "", lastTimestamp=None, eventTime="2026-01-02T03:04:05.678901Z")) == (
        "2026-01-02T03:04:05Z"
    )
    series = {"count": 4, "lastObservedTime": "2026-01-03T00:00:00.000000Z"}
    assert seen(an_event("FailedScheduling", "", lastTimestamp=None, series=series)) == "2026-01-03T00:00:00Z"


def test_the_guilty_pod_is_the_one_that_the_message_names():
    first = a_pod("Failed", "p-0", containerStatuses=ended(1, "2026-01-01T00:00:01Z"))
    named = a_pod("Failed", "p-1", containerStatuses=ended(3, "2026-01-01T00:00:02Z"))
    message = "Container worker for pod finemem/p-1 failed with exit code 3 matching FailJob rule at index 2"
    assert guilty([first, named], message) is named


def test_otherwise_it_is_the_first_whose_end_nobody_asked_for():
    stopped = a_pod("Failed", "p-0", containerStatuses=ended(75, "2026-01-01T00:00:01Z"))
    killed = a_pod("Failed", "p-1", containerStatuses=ended(143, "2026-01-01T00:00:01Z"))
    wrong = a_pod("Failed", "p-2", containerStatuses=ended(137, "2026-01-01T00:00:02Z", "OOMKilled"))
    later = a_pod("Failed", "p-3", containerStatuses=ended(1, "2026-01-01T00:00:03Z"))
    assert guilty([stopped, killed, later, wrong], "Job has reached the specified backoff limit") is wrong
    assert guilty([stopped, killed], "Job was active longer than specified deadline") is None


def test_an_evicted_pod_has_a_reason_and_no_exit_code():
    pod = a_pod("Failed", reason="Evicted", conditions=[{"type": "DisruptionTarget", "status": "True"}])
    end = pod_end(pod)
    assert (end.exit_code, end.reason, end.preempted) == (None, "Evicted", True)


def test_a_rank_that_the_kernel_killed_under_its_launcher_is_not_called_a_mere_error():
    pod = a_pod("Failed", containerStatuses=ended(137))
    assert how_it_ended(pod_end(pod), pod) == "was killed (exit code 137), most often for want of memory"


def test_a_pod_that_its_node_has_ended_is_not_said_to_want_memory():
    why = 'Usage of EmptyDir volume "scratch-0" exceeds the limit "10Gi".'
    pod = a_pod("Failed", containerStatuses=ended(137), reason="Evicted", message=f"{why} ")
    assert how_it_ended(pod_end(pod), pod) == f"was ended by its node (exit code 137): Evicted: {why.rstrip('.')}"


def test_a_pod_that_its_node_never_took_is_guilty_where_no_other_is():
    why = "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices"
    pod = a_pod("Failed", reason="UnexpectedAdmissionError", message=why)
    assert guilty([pod], "Job has reached the specified backoff limit") is pod
    assert how_it_ended(pod_end(pod), pod) == f"was ended by its node: UnexpectedAdmissionError: {why}"
    wrong = a_pod("Failed", "p-1", containerStatuses=ended(139))
    assert guilty([pod, wrong], "Job has reached the specified backoff limit") is wrong
    lost = a_pod("Failed", reason="Terminated", conditions=[{"type": "DisruptionTarget", "status": "True"}])
    assert guilty([lost], "") is None
