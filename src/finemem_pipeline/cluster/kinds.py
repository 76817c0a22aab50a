"""The kinds of objects that are spoken of, where the API keeps them, and how a job says that it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finemem_pipeline.cluster.seam import Manifest


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    """Empty for the core group."""
    version: str
    plural: str
    name: str
    complete: str = "Complete"
    """The condition that means success, once its status is True. Failure is `Failed` for all of them."""

    def path(self, namespace: str, name: str = "", below: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return "/".join(part for part in (root, "namespaces", namespace, self.plural, name, below) if part)


JOB = Kind("batch", "v1", "jobs", "Job")
JOBSET = Kind("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet", complete="Completed")
TRAINJOB = Kind("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
JOBS = (JOB, JOBSET, TRAINJOB)

POD = Kind("", "v1", "pods", "Pod")
EVENT = Kind("", "v1", "events", "Event")
SERVICE = Kind("", "v1", "services", "Service")
QUOTA = Kind("", "v1", "resourcequotas", "ResourceQuota")
CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SECRET = Kind("", "v1", "secrets", "Secret")
ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount")

KINDS = {kind.name: kind for kind in (*JOBS, SERVICE)}


def condition(thing: Manifest, name: str) -> dict[str, Any] | None:
    """The condition of this type if its status is True."""
    for found in thing.get("status", {}).get("conditions") or ():
        if found.get("type") == name and found.get("status") == "True":
            return dict(found)
    return None


def ended(job: Manifest, kind: Kind) -> dict[str, Any] | None:
    """The condition that ends the job. FailureTarget, SuccessCriteriaMet and the counters come earlier, while pods are
    still at work: they end nothing."""
    return condition(job, kind.complete) or condition(job, "Failed")
