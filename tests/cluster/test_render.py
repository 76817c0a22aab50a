"""What is sent to the API server: valid in every supported version, restricted, and the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from finemem_pipeline.cluster import BACKENDS, Claim, ClusterError, JobSpec, SecretKey, render
from finemem_pipeline.cluster.__main__ import main
from finemem_pipeline.cluster.render import quantity

GOLDEN = Path(__file__).parent / "golden"
PLANS = ("one-gpu", "two-nodes")

SPECS: dict[str, dict[str, Any]] = {
    "one rank": {},
    "a GPU": {"gpus": 1, "claims": (Claim("data", "/app/data", "data"), Claim("data", "/models", read_only=True))},
    "two nodes": {"nodes": 2, "processes": 8, "gpus": 8, "deadline_seconds": 60, "priority_class": "batch"},
    "a queue": {"queue": "research", "pull_secrets": ("registry",), "secret_env": {"KEY": SecretKey("store", "key")}},
}


@pytest.fixture(params=SPECS)
def spec(request, job) -> JobSpec:
    return job("pass", **SPECS[request.param])


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]
    if manifest["kind"] == "JobSet":
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    return spec["template"]["spec"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("plan", PLANS)
def test_manifests_are_those_on_record(plan, backend, capsys):
    """To put new ones on record: python -m finemem_pipeline.cluster render tests/cluster/golden/PLAN.yml --backend
    BACKEND --env none > tests/cluster/golden/PLAN.BACKEND.yml"""
    assert main(["render", str(GOLDEN / f"{plan}.yml"), "--backend", backend, "--env", "none"]) == 0
    assert capsys.readouterr().out == (GOLDEN / f"{plan}.{backend}.yml").read_text()


@pytest.mark.parametrize("version", ["1.35", "1.36", "1.37"])
def test_manifests_are_valid_in_each_supported_version(spec, version):
    import kubernetes_validate

    for manifest in [*render(spec), {"apiVersion": "batch/v1", "kind": "Job", **_child(render(spec, "jobset")[0])}]:
        kubernetes_validate.validate(manifest, version, strict=True)


def _child(jobset: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "child"}, "spec": jobset["spec"]["replicatedJobs"][0]["template"]["spec"]}


def test_the_models_of_the_client_know_every_field(spec):
    from kubernetes import client

    models = {"Job": client.V1Job, "Service": client.V1Service}
    for manifest in render(spec):
        model = models[manifest["kind"]].model_validate(manifest)
        assert client.ApiClient().sanitize_for_serialization(model) == manifest


def test_a_field_that_nobody_knows_is_caught(job):
    import kubernetes_validate

    manifest = render(job("pass"))[0]
    manifest["spec"]["completionMod"] = "Indexed"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.36", strict=True)


def test_a_job_set_that_is_over_its_time_is_not_started_again(job):
    [manifest] = render(job("pass", deadline_seconds=60), "jobset")
    [rule] = manifest["spec"]["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy", "DeadlineExceeded"])


@pytest.mark.parametrize("backend", ["job", "jobset"])
def test_every_pod_meets_the_restricted_profile(spec, backend):
    pod = pod_of(render(spec, backend)[0])
    assert violations(pod) == []
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert {"/tmp", "/dev/shm"} <= writable


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"hostNetwork": True}, "host namespaces"),
        ({"securityContext": {}}, "runAsNonRoot"),
        ({"securityContext": {"runAsNonRoot": True, "runAsUser": 0}}, "runAsUser"),
        ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "volume types"),
    ],
)
def test_a_pod_that_breaks_the_profile_is_found_out(job, change, rule):
    assert any(rule in found for found in violations(pod_of(render(job("pass"))[0]) | change))


def violations(pod: dict[str, Any]) -> list[str]:
    """The rules of the levels baseline and restricted: kubernetes.io/docs/concepts/security/pod-security-standards."""
    found = []
    whole = pod.get("securityContext") or {}
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("host namespaces")
    allowed = {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
        "secret",
    }  # fmt: skip
    if any(set(volume) - {"name"} - allowed for volume in pod.get("volumes", ())):
        found.append("volume types")
    if whole.get("sysctls") or whole.get("windowsOptions", {}).get("hostProcess"):
        found.append("sysctls or host processes")
    if whole.get("supplementalGroups") and 0 in whole["supplementalGroups"]:
        found.append("root group")
    for container in (*pod.get("containers", ()), *pod.get("initContainers", ())):
        own = container.get("securityContext") or {}
        merged = whole | own
        rules = {
            "privileged": not own.get("privileged"),
            "host ports": not any(port.get("hostPort") for port in container.get("ports", ())),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities dropped": (own.get("capabilities") or {}).get("drop") == ["ALL"],
            "capabilities added": set((own.get("capabilities") or {}).get("add", ())) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": merged.get("runAsNonRoot") is True,
            "runAsUser": merged.get("runAsUser", 1) != 0,
            "seccompProfile": (merged.get("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost"),
            "procMount": own.get("procMount", "Default") == "Default",
            "seLinux, AppArmor": not ({"seLinuxOptions", "appArmorProfile"} & set(merged)),
            "probes and hooks on other hosts": not ({"lifecycle", "livenessProbe", "readinessProbe"} & set(container)),
        }
        found += [f"{container['name']}: {rule}" for rule, kept in rules.items() if not kept]
    return found


def test_a_trainjob_patches_the_same_security_into_its_runtime(job):
    patch = render(job("pass", **SPECS["two nodes"]), "trainjob")[0]["spec"]["runtimePatches"][0][
        "trainingRuntimeSpec"
    ]["template"]
    pod = patch["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert violations(pod) == []


def test_quantities_are_strings(job):
    resources = pod_of(render(job("pass", **SPECS["two nodes"]))[0])["containers"][0]["resources"]
    assert resources == {
        "requests": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "8"},
        "limits": {"memory": "1Gi", "nvidia.com/gpu": "8"},
    }


def test_shared_memory_is_larger_than_the_default_of_64_mb(job):
    pod = pod_of(render(job("pass", shm="8Gi"))[0])
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in pod["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]


def test_every_manifest_names_its_namespace(job):
    for backend in BACKENDS:
        for manifest in render(job("pass", **SPECS["two nodes"]), backend):
            assert manifest["metadata"]["namespace"] == "finemem"


def test_secrets_are_references(job):
    container = pod_of(render(job("pass", **SPECS["a queue"]))[0])["containers"][0]
    assert {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "key"}}} in container["env"]


def test_what_a_later_launcher_would_set_differently_does_not_change_the_hash_of_the_spec(job):
    first, second = (render(job("pass", launch_env={"MLFLOW_RUN_ID": run}))[0] for run in ("a", "b"))
    assert hash_of(first) == hash_of(second)
    assert {"name": "MLFLOW_RUN_ID", "value": "a"} in pod_of(first)["containers"][0]["env"]
    assert hash_of(render(job("pass", memory="2Gi"))[0]) != hash_of(first)


def hash_of(manifest: dict[str, Any]) -> str:
    return manifest["metadata"]["annotations"]["finemem/spec-hash"]


def test_one_rank_runs_the_command_itself(job):
    assert pod_of(render(job("pass"))[0])["containers"][0]["command"] == ["python", "-c", "pass"]


def test_several_ranks_meet_at_the_stable_name_of_the_first_pod(job):
    spec = job("pass", nodes=2, processes=4, grace_seconds=120)
    manifest, service = render(spec)
    assert pod_of(manifest)["subdomain"] == service["metadata"]["name"] == spec.name
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert pod_of(manifest)["containers"][0]["command"] == [
        "python",
        "-m",
        "finemem_pipeline.launch",
        "--nnodes=2",
        "--node-rank=$(JOB_COMPLETION_INDEX)",
        "--nproc-per-node=4",
        f"--master-addr={spec.name}-0.{spec.name}",
        "--master-port=29500",
        "--shutdown-timeout=105",
        "-c",
        "pass",
    ]


def test_preemption_does_not_count_a_code_error_fails_at_once_and_a_crash_is_tried_again(job):
    assert render(job("pass"))[0]["spec"]["podFailurePolicy"]["rules"] == [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"containerName": "worker", "operator": "In", "values": [75]}},
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": "worker", "operator": "NotIn", "values": [134, 135, 137, 139, 143]},
        },
    ]


def test_a_job_with_a_queue_waits_until_it_is_admitted(job):
    for backend in BACKENDS:
        manifest = render(job("pass", **SPECS["a queue"]), backend)[0]
        assert manifest["spec"]["suspend"] is True
        assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert "suspend" not in render(job("pass"))[0]["spec"]


def test_an_unknown_backend_is_refused_with_the_nearest_guess(job):
    with pytest.raises(ClusterError, match="Did you mean 'jobset'"):
        render(job("pass"), "jobsets")


@pytest.mark.parametrize(("text", "value"), [("500m", 0.5), ("4", 4.0), ("1.5", 1.5), ("16Gi", 2**34), ("2k", 2000.0)])
def test_quantities_are_read_as_kubernetes_means_them(text, value):
    assert quantity(text) == value


@pytest.mark.parametrize(("text", "value"), [("1Pi", 2.0**50), ("2e3", 2000.0), ("1E", 1e18), ("250000n", 250e-6)])
def test_a_quantity_of_a_quota_may_be_written_in_rarer_ways(text, value):
    assert quantity(text) == pytest.approx(value)


def test_a_quantity_with_an_unknown_unit_is_refused():
    with pytest.raises(ClusterError, match="'16GB' is not a quantity"):
        quantity("16GB")


def test_manifests_are_plain_yaml(job):
    for manifest in render(job("pass", **SPECS["two nodes"])):
        assert yaml.safe_load(yaml.safe_dump(manifest)) == manifest
