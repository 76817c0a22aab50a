"""The role of the launcher, against the requests that a launcher makes: no more, no less."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from finemem_pipeline.cluster import ClusterError, JobSpec, KubernetesCluster, SecretKey, checks, render
from finemem_pipeline.cluster.fake_api import FakeApi, Scenario
from finemem_pipeline.cluster.kinds import JOB, JOBS
from finemem_pipeline.cluster.render import MANAGED_BY, MANAGER
from finemem_pipeline.cluster.spec import Claim

PROJECT = Path(__file__).resolve().parents[2]
LOOKS = {
    "namespaces": {"get"},
    "serviceaccounts": {"get"},
    "persistentvolumeclaims": {"get"},
    "resourcequotas": {"list"},
}
"""What a check-up looks at besides; it does without where it may not."""
REFUSED = {"secrets": {"get"}}
"""What it asks for and is not given."""

Rights = dict[str, set[str]]


def rights(site: tuple[dict[str, Any], ...], role: str = "finemem-launcher") -> Rights:
    [found] = [each for each in site if each["kind"] == "Role" and each["metadata"]["name"] == role]
    given: Rights = defaultdict(set)
    for rule in found["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                given[f"{resource}.{group}".rstrip(".")] |= set(rule["verbs"])
    return dict(given)


def used(requests: list[tuple[str, str]]) -> Rights:
    """What these requests need, as a role names it."""
    path = re.compile(r"/(?:api/v1|apis/([^/]+)/[^/]+)/namespaces/[^/]+/([^/?]+)(?:/([^/?]+))?(?:/([^/?]+))?(?:\?|$)")
    found: Rights = defaultdict(set)
    for method, target in requests:
        if re.match(r"/api/v1/namespaces/[^/]+$", target):
            found["namespaces"].add("get")
        elif (match := path.match(target)) is not None:
            group, plural, name, below = match.groups()
            reads = "get" if name else "watch" if "watch=true" in target else "list"
            resource = f"{plural}/{below}" if below else f"{plural}.{group or ''}".rstrip(".")
            found[resource].add({"POST": "create", "DELETE": "delete"}.get(method, reads))
    return dict(found)


def spec(group: str, command: str, **changes: Any) -> JobSpec:
    settings: dict[str, Any] = {
        "pipeline": "train",
        "group": group,
        "image": "finemem-pipeline:0.1.0-cpu",
        "command": ("-c", command),
        "namespace": "finemem",
        "identity": "one",
        "cpu": "1",
        "memory": "1Gi",
        "grace_seconds": 5,
        "service_account": "finemem-worker",
        "claims": (Claim("finemem-data", "/app/data"),),
        "secret_env": {"AWS_ACCESS_KEY_ID": SecretKey("object-store", "AWS_ACCESS_KEY_ID")},
    }
    return JobSpec(**settings | changes)


@pytest.fixture
def api(tmp_path: Path, sites):
    with FakeApi(tmp_path, installed=("kueue.x-k8s.io",)) as served:
        served.kubeconfig(tmp_path / "kubeconfig")
        for kind, plural in (
            ("ServiceAccount", "serviceaccounts"),
            ("PersistentVolumeClaim", "persistentvolumeclaims"),
            ("ResourceQuota", "resourcequotas"),
        ):
            for each in sites["gpu-1"]:
                if each["kind"] == kind:
                    served.create(plural, each)
        served.secret("finemem", "object-store", AWS_ACCESS_KEY_ID="key")
        for plural, verbs in REFUSED.items():
            for verb in verbs:
                served.deny(verb, plural)
        yield served


def test_the_role_is_what_the_launcher_says_that_it_needs(site):
    assert rights(site) == {name: set(verbs) for name, verbs in checks.RIGHTS.items()} | LOOKS


def test_a_launcher_uses_all_of_its_rights_and_no_other(api, sites, tmp_path):
    """Two jobs: one that succeeds after its logs were followed, one that is found again and cancelled."""
    cluster = KubernetesCluster.connect(kubeconfig=tmp_path / "kubeconfig", outcomes=str(tmp_path), timeout=30.0)
    ends, waits = spec("ends", "print('done')"), spec("waits", "pass", nodes=2)
    api.play(waits.name, Scenario(unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu."))
    left = {"ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": waits.name, "uid": "earlier"}]}
    where = {"name": waits.name, "namespace": "finemem", "labels": {MANAGED_BY: MANAGER}}
    api.create("services", {"metadata": {**where, **left}})  # of an earlier job of this name
    try:
        findings = cluster.check("finemem", [ends, waits])
        assert [finding.text for finding in findings if finding.level == "error"] == []
        first = cluster.submit(render(ends))
        assert (0, "done") in list(cluster.logs(first, follow=True))
        outcome = cluster.wait(first)
        assert outcome is not None
        assert outcome.succeeded
        cluster.submit(render(waits))
        again = cluster.find(waits.name, "finemem")
        assert {line.name for line in cluster.status("finemem")} == {ends.name, waits.name}
        assert cluster.delete(again).status == "cancelled"
    finally:
        cluster.close()
    given = rights(sites["gpu-1"])
    asked = used(api.requests)
    assert {name: asked.pop(name) for name in REFUSED} == REFUSED
    other_jobs = [name for name in asked if name.startswith(("jobsets.", "trainjobs."))]  # looked for, if installed
    assert {name: verbs for name, verbs in asked.items() if name not in other_jobs} == given


def test_on_a_site_with_a_queue_it_may_look_whether_the_queue_is_there(api, sites, tmp_path):
    cluster = KubernetesCluster.connect(kubeconfig=tmp_path / "kubeconfig", outcomes=str(tmp_path), timeout=30.0)
    queue = {"metadata": {"name": "finemem", "namespace": "finemem"}, "apiVersion": "kueue.x-k8s.io/v1beta2"}
    api.create("localqueues", queue)
    before = len(api.requests)
    cluster.check("finemem", [spec("waits", "pass", queue="finemem")])
    cluster.close()
    given = rights(sites["kueue"]) | rights(sites["kueue"], "finemem-launcher-queue")
    for name, verbs in used(api.requests[before:]).items():
        assert verbs <= given.get(name, set()) | REFUSED.get(name, set()), name


def test_other_kinds_of_jobs_take_the_same_rights():
    text = (PROJECT / "k8s/components/other-jobs/access.yaml").read_text(encoding="utf-8")
    role, binding = yaml.safe_load_all(text)
    for each in (role, binding):
        kubernetes_validate.validate(each, "1.36", strict=True)
    kinds = [kind for kind in JOBS if kind is not JOB]
    assert rights((role,), "finemem-launcher-other-jobs") == {
        f"{kind.plural}.{kind.group}": set(checks.RIGHTS["jobs.batch"]) for kind in kinds
    }
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["finemem-launcher"]


@pytest.mark.parametrize("jobs", [1, 12])
def test_waiting_costs_the_same_requests_for_one_job_as_for_many(api, tmp_path, jobs):
    """One list and one watch each of jobs, pods and events, whatever the number: docs/explanation/scale.md."""
    api.play("*", Scenario(queued=600.0))
    cluster = KubernetesCluster.connect(kubeconfig=tmp_path / "kubeconfig", outcomes=str(tmp_path), timeout=30.0)
    handles = [cluster.submit(render(spec(f"g{number}", "pass", queue="finemem"))) for number in range(jobs)]
    before = len(api.requests)
    leave = threading.Event()
    waiting = [threading.Thread(target=cluster.wait, args=(handle, None, leave)) for handle in handles]
    for thread in waiting:
        thread.start()
    until = time.monotonic() + 60
    while len(api.requests) < before + 6 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(3.0)  # were there a request per job, it would be seen by now
    leave.set()
    for thread in waiting:
        thread.join()
    made = [target for _, target in api.requests[before:]]
    cluster.close()
    assert len([target for target in made if "watch=true" in target]) == 3
    assert len(made) == 6


def test_without_the_role_the_launcher_says_which_one_it_lacks(api, tmp_path):
    cluster = KubernetesCluster.connect(kubeconfig=tmp_path / "kubeconfig", outcomes=str(tmp_path), timeout=30.0)
    api.deny("create", "jobs")
    with pytest.raises(ClusterError, match="finemem-launcher"):
        cluster.submit(render(spec("first", "pass")))
    cluster.close()
