"""Jobs on Kubernetes: a spec becomes manifests, and manifests become a job that is watched to its end.

    manifests = render(spec)
    cluster = KubernetesCluster.connect(outcomes="s3://bucket/finemem/outcomes")
    handle = cluster.submit(manifests)          # or attaches, if somebody submitted the same before
    outcome = cluster.wait(handle, on_notice=print)

It stands aside: it imports nothing of the package but errors, beside and stopping, and only runner.py imports it.
"""

from finemem_pipeline.cluster.kubernetes import KubernetesCluster
from finemem_pipeline.cluster.render import BACKENDS, render
from finemem_pipeline.cluster.seam import Cluster, Finding, Handle, Manifest, Notice, Outcome, PodEnd, Status
from finemem_pipeline.cluster.spec import Claim, ClusterError, JobSpec, SecretKey

__all__ = [
    "BACKENDS",
    "Claim",
    "Cluster",
    "ClusterError",
    "Finding",
    "Handle",
    "JobSpec",
    "KubernetesCluster",
    "Manifest",
    "Notice",
    "Outcome",
    "PodEnd",
    "SecretKey",
    "Status",
    "render",
]
