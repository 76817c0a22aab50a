"""From a spec to manifests: plain dicts, ready for YAML or for the API.

`job` needs nothing but Kubernetes: one pod is a Job; several are an Indexed Job with a headless Service that gives each
pod a stable host name. `jobset` and `trainjob` need the controllers of these names. Rank 0 of node 0 is where torchrun
meets; every other rank finds it by host name (static rendezvous).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from finemem_pipeline.cluster.seam import Manifest
from finemem_pipeline.cluster.spec import ClusterError, JobSpec
from finemem_pipeline.errors import unknown
from finemem_pipeline.stopping import RESUME_EXIT_CODE

MANAGER = "finemem-launcher"
NAME, MANAGED_BY, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/managed-by", "app.kubernetes.io/component"
PROJECT, PIPELINE, GROUP, JOB = "finemem/project", "finemem/pipeline", "finemem/group", "finemem/job"
SPEC_HASH, SPEC, LAUNCH_ENV = "finemem/spec-hash", "finemem/spec", "finemem/launch-env"
QUEUE = "kueue.x-k8s.io/queue-name"

CONTAINER = "worker"
PORT = 29500
CRASHES = [134, 135, 137, 139, 143]
"""128 + SIGABRT (NCCL gives up), SIGBUS, SIGKILL (out of memory, lost node), SIGSEGV, SIGTERM: worth another try."""


def render(spec: JobSpec, backend: str = "job") -> list[Manifest]:
    """The job first, then what belongs to it. The same spec gives the same manifests, anywhere."""
    if backend not in BACKENDS:
        raise ClusterError(unknown("backend", backend, BACKENDS, "way to run a job"))
    _quantities_are_some(spec)
    bare = BACKENDS[backend](replace(spec, launch_env={}))
    digest = hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()[:16]
    described = {key: value for key, value in asdict(spec).items() if key != "launch_env"} | {"backend": backend}
    manifests = BACKENDS[backend](spec)
    manifests[0]["metadata"]["annotations"] |= {
        SPEC_HASH: digest,
        SPEC: json.dumps(described, sort_keys=True),
        LAUNCH_ENV: json.dumps(dict(spec.launch_env), sort_keys=True),
    }
    return manifests


def _quantities_are_some(spec: JobSpec) -> None:
    named = {"cpu": spec.cpu, "memory": spec.memory, "shm": spec.shm}
    for name, text in (named | {f"scratch.{path}": size for path, size in spec.scratch.items()}).items():
        try:
            quantity(text)
        except ClusterError as fault:
            raise ClusterError(f"job '{spec.group}' of pipeline '{spec.pipeline}': {name}: {fault}") from fault


def labels(spec: JobSpec) -> dict[str, str]:
    """What the job and its pods are found by. The NetworkPolicies of k8s/base select by the component."""
    return {
        **spec.labels,
        NAME: "finemem-pipeline",
        COMPONENT: "worker",
        MANAGED_BY: MANAGER,
        PROJECT: _label(spec.project),
        PIPELINE: _label(spec.pipeline),
        GROUP: _label(spec.group),
        JOB: spec.name,
    }


def _label(text: str) -> str:
    """At most 63 letters, digits, '-', '_', '.', with a letter or digit at both ends."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:63].strip("-_.")


def _metadata(spec: JobSpec) -> dict[str, Any]:
    queue = {QUEUE: spec.queue} if spec.queue else {}
    return {
        "name": spec.name,
        "namespace": spec.namespace,
        "labels": labels(spec) | queue,
        "annotations": dict(spec.annotations),
    }


def _command(spec: JobSpec, master: str) -> list[str]:
    """One rank is the plain command; several are started by torchrun, whose `launch` keeps the exit code."""
    if spec.nodes == spec.processes == 1:
        return ["python", *spec.command]
    rank = ["--node-rank=$(JOB_COMPLETION_INDEX)"] if spec.nodes > 1 else []
    return [
        "python",
        "-m",
        "finemem_pipeline.launch",
        f"--nnodes={spec.nodes}",
        *rank,
        f"--nproc-per-node={spec.processes}",
        f"--master-addr={master}",
        f"--master-port={PORT}",
        f"--shutdown-timeout={max(1, spec.grace_seconds - 15)}",
        *spec.command,
    ]


def _environment(spec: JobSpec) -> list[dict[str, Any]]:
    threads = max(1, math.floor(quantity(spec.cpu) / spec.processes))
    plain = {
        "HOME": "/tmp",
        "HF_HOME": "/tmp/huggingface",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **({"NCCL_DEBUG": "WARN"} if spec.gpus else {}),
        **spec.env,
        **spec.launch_env,
    }
    secret = {
        name: {"secretKeyRef": {"name": key.name, "key": key.key}} for name, key in sorted(spec.secret_env.items())
    }
    return [
        *({"name": name, "value": value} for name, value in sorted(plain.items()) if name not in secret),
        *({"name": name, "valueFrom": value} for name, value in secret.items()),
    ]


def _resources(spec: JobSpec) -> dict[str, Any]:
    """No limit on the cpu: a limit makes a pod wait while cores idle."""
    gpus = {"nvidia.com/gpu": str(spec.gpus)} if spec.gpus else {}
    return {"requests": {"cpu": spec.cpu, "memory": spec.memory, **gpus}, "limits": {"memory": spec.memory, **gpus}}


def _volumes(spec: JobSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(volumes of the pod, where the container sees them)."""
    volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": spec.shm}}]
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}]
    for number, (path, size) in enumerate(sorted(spec.scratch.items())):
        volumes.append({"name": f"scratch-{number}", "emptyDir": {"sizeLimit": size}})
        mounts.append({"name": f"scratch-{number}", "mountPath": path})
    for name in sorted({claim.name for claim in spec.claims}):
        volumes.append({"name": f"claim-{name}"[:63].strip("-."), "persistentVolumeClaim": {"claimName": name}})
    for claim in spec.claims:
        mounts.append(
            {
                "name": f"claim-{claim.name}"[:63].strip("-."),
                "mountPath": claim.path,
                **({"subPath": claim.sub_path} if claim.sub_path else {}),
                **({"readOnly": True} if claim.read_only else {}),
            }
        )
    return volumes, mounts


def _pod_security(spec: JobSpec) -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": spec.user,
        "runAsGroup": spec.user,
        "fsGroup": spec.user,
        "fsGroupChangePolicy": "OnRootMismatch",  # a large volume is not walked through at every start
        "seccompProfile": {"type": "RuntimeDefault"},
    }


CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _placement(spec: JobSpec) -> dict[str, Any]:
    tolerations = [dict(toleration) for toleration in spec.tolerations]
    if spec.gpus:
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    zone = {
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "topology.kubernetes.io/zone",
            "labelSelector": {"matchLabels": {JOB: spec.name}},
        },
    }
    placement = {
        "nodeSelector": dict(spec.node_selector),
        "tolerations": tolerations,
        "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [zone]}}
        if spec.nodes > 1
        else {},
        "imagePullSecrets": [{"name": name} for name in spec.pull_secrets],
    }
    return {key: value for key, value in placement.items() if value}


def _pod(spec: JobSpec, master: str, subdomain: str = "") -> dict[str, Any]:
    volumes, mounts = _volumes(spec)
    return {
        "metadata": {"labels": labels(spec)},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": spec.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": spec.grace_seconds,
            **({"subdomain": subdomain} if subdomain else {}),
            **({"priorityClassName": spec.priority_class} if spec.priority_class else {}),
            **_placement(spec),
            "securityContext": _pod_security(spec),
            "containers": [
                {
                    "name": CONTAINER,
                    "image": spec.image,
                    "command": _command(spec, master),
                    "env": _environment(spec),
                    "resources": _resources(spec),
                    "securityContext": CONTAINER_SECURITY,
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        },
    }


def _failure_policy() -> dict[str, Any]:
    """The first rule that fits a pod decides. What fits none counts against the backoff limit."""
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {
                "action": "Ignore",
                "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [RESUME_EXIT_CODE]},
            },
            {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": CRASHES}},
        ]
    }


def _job_spec(spec: JobSpec, master: str, subdomain: str, backoff_limit: int) -> dict[str, Any]:
    indexed = {"completionMode": "Indexed", "completions": spec.nodes, "parallelism": spec.nodes}
    return {
        **(indexed if subdomain else {}),
        "backoffLimit": backoff_limit,
        "podFailurePolicy": _failure_policy(),
        **({"activeDeadlineSeconds": spec.deadline_seconds} if spec.deadline_seconds else {}),
        "template": _pod(spec, master, subdomain),
    }


def _job(spec: JobSpec) -> list[Manifest]:
    several = spec.nodes > 1
    job: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(spec),
        "spec": {
            **({"suspend": True} if spec.queue else {}),
            "ttlSecondsAfterFinished": spec.ttl_seconds,
            **_job_spec(
                spec,
                master=f"{spec.name}-0.{spec.name}" if several else "127.0.0.1",
                subdomain=spec.name if several else "",
                backoff_limit=spec.backoff_limit,
            ),
        },
    }
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": spec.name, "namespace": spec.namespace, "labels": labels(spec)},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # the ranks meet before any pod is ready
            "selector": {JOB: spec.name},
            "ports": [{"name": "rendezvous", "port": PORT}],
        },
    }
    return [job, service] if several else [job]


def _jobset(spec: JobSpec) -> list[Manifest]:
    """Any pod that fails, other than by a code error, starts all of them again: no rank waits for one that is gone. The
    deadline is that of each start."""
    return [
        {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": _metadata(spec),
            "spec": {
                **({"suspend": True} if spec.queue else {}),
                "ttlSecondsAfterFinished": spec.ttl_seconds,
                "network": {"enableDNSHostnames": True, "subdomain": spec.name, "publishNotReadyAddresses": True},
                "failurePolicy": {
                    "maxRestarts": spec.backoff_limit,
                    "rules": [
                        {
                            "name": "notWorthAnotherTry",
                            "action": "FailJobSet",
                            "onJobFailureReasons": ["PodFailurePolicy", "DeadlineExceeded"],
                        }
                    ],
                },
                "replicatedJobs": [
                    {
                        "name": "node",
                        "replicas": 1,
                        "template": {
                            "spec": _job_spec(
                                spec, master=f"{spec.name}-node-0-0.{spec.name}", subdomain=spec.name, backoff_limit=0
                            )
                        },
                    }
                ],
            },
        }
    ]


def _trainjob(spec: JobSpec) -> list[Manifest]:
    """What the runtime leaves to a TrainJob. Retries, deadline and TTL are settings of the runtime; host names and the
    rendezvous reach torchrun through the variables PET_* that its plugin sets."""
    pod = _pod(spec, master="")["spec"]
    patched = {
        key: pod[key]
        for key in (
            "serviceAccountName", "nodeSelector", "tolerations", "affinity", "imagePullSecrets", "securityContext",
            "volumes",
        )
        if key in pod
    }  # fmt: skip
    container = pod["containers"][0]
    patched["containers"] = [
        {"name": "node", "securityContext": CONTAINER_SECURITY, "volumeMounts": container["volumeMounts"]}
    ]
    template = {"template": {"metadata": {"labels": labels(spec)}, "spec": patched}}
    return [
        {
            "apiVersion": "trainer.kubeflow.org/v1alpha1",
            "kind": "TrainJob",
            "metadata": _metadata(spec),
            "spec": {
                **({"suspend": True} if spec.queue else {}),
                "runtimeRef": {
                    "apiGroup": "trainer.kubeflow.org",
                    "kind": "ClusterTrainingRuntime",
                    "name": spec.runtime,
                },
                "trainer": {
                    "image": spec.image,
                    "command": ["python", "-m", "finemem_pipeline.launch", *spec.command],
                    "env": container["env"],
                    "numNodes": spec.nodes,
                    "numProcPerNode": spec.processes,
                    "resourcesPerNode": container["resources"],
                },
                "runtimePatches": [
                    {
                        "manager": MANAGER,
                        "trainingRuntimeSpec": {
                            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": {"spec": template}}]}}
                        },
                    }
                ],
            },
        }
    ]


BACKENDS: dict[str, Callable[[JobSpec], list[Manifest]]] = {"job": _job, "jobset": _jobset, "trainjob": _trainjob}

UNITS = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "Ei": 2**60,
}


def quantity(text: str) -> float:
    """What Kubernetes means by "500m", "16Gi" or "2e3"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:[eE](\d+)|([A-Za-z]*))", text)
    if not found or (found[3] or "") not in UNITS:
        units = ", ".join(filter(None, UNITS))
        raise ClusterError(f"'{text}' is not a quantity. Examples: 4, 500m, 16Gi. Units: {units}.")
    return float(found[1]) * 10.0 ** int(found[2] or 0) * UNITS[found[3] or ""]
