"""What the runner's jobs find on a site: their account, their volume, and a quota that admits them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from finemem_pipeline.cluster import JobSpec, SecretKey, render
from finemem_pipeline.cluster.render import quantity
from finemem_pipeline.cluster.spec import Claim
from finemem_pipeline.runner_config import RunnerConfig, parse_runner

PROJECT = Path(__file__).resolve().parents[2]
Site = tuple[dict[str, Any], ...]


def named(site: Site, kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in site if each["kind"] == kind}


def runner(overlay: str) -> RunnerConfig:
    return parse_runner(yaml.safe_load((PROJECT / f"k8s/overlays/{overlay}/runner.yml").read_text(encoding="utf-8")))


def values(thing: Any, key: str) -> list[Any]:
    """Whatever stands under this key, anywhere."""
    if isinstance(thing, dict):
        found = [thing[key]] if key in thing else []
        return found + [inner for each in thing.values() for inner in values(each, key)]
    return [inner for each in thing for inner in values(each, key)] if isinstance(thing, list) else []


def job(config: RunnerConfig, backend: str = "job") -> dict[str, Any]:
    """The first manifest of a training with these settings."""
    volume = config.volume
    spec = JobSpec(
        pipeline="train",
        group="train",
        image=str(config.image),
        command=("-m", "kedro", "run"),
        namespace=config.namespace,
        identity="one",
        env=config.env,
        secret_env={name: SecretKey(*place.split("/")) for name, place in config.secrets.items()},
        nodes=config.nodes,
        processes=config.processes,
        gpus=config.gpus,
        cpu=config.cpu,
        memory=config.memory,
        shm=config.shm,
        scratch=config.scratch,
        claims=(Claim(volume.claim, f"/app/{volume.path}", volume.sub_path),) if volume is not None else (),
        service_account=config.service_account,
        queue=config.queue,
    )
    return render(spec, backend)[0]


def asked(template: dict[str, Any], pods: int) -> dict[str, float]:
    """What so many pods take of a quota."""
    whole = dict.fromkeys(("requests.cpu", "requests.memory", "limits.memory", "requests.nvidia.com/gpu"), 0.0)
    for container in template["spec"]["containers"]:
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        whole["requests.cpu"] += quantity(requests["cpu"])
        whole["requests.memory"] += quantity(requests["memory"])
        whole["limits.memory"] += quantity(limits["memory"])
        whole["requests.nvidia.com/gpu"] += quantity(limits.get("nvidia.com/gpu", "0"))
    return {**{name: pods * amount for name, amount in whole.items()}, "pods": pods}


def total(*parts: dict[str, float]) -> dict[str, float]:
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def servers(site: Site) -> dict[str, float]:
    return total(
        *(asked(each["spec"]["template"], each["spec"]["replicas"]) for each in named(site, "Deployment").values())
    )


SHAPES = {"dev": (1, 0), "gpu-1": (1, 1), "gpu-8": (1, 8), "gpu-2x8": (2, 8), "kueue": (1, 1)}
"""Pods of a job, GPUs of a pod."""
ON_A_VOLUME = ("dev", "gpu-1", "gpu-2x8")
"""Where data is; on the others in a bucket."""


def test_an_overlay_is_what_its_name_says(overlay):
    config = runner(overlay)
    assert (config.nodes, config.gpus) == SHAPES[overlay]
    assert config.processes == max(1, config.gpus)  # one process per GPU


def test_the_quota_admits_the_servers_and_as_many_jobs_as_run_at_once(sites, overlay):
    site, config = sites[overlay], runner(overlay)
    hard = named(site, "ResourceQuota")["finemem"]["spec"]["hard"]
    at_once = 8 if overlay == "kueue" else config.side_by_side
    need = total(servers(site), asked(job(config)["spec"]["template"], config.nodes * at_once))
    assert {name: amount for name, amount in need.items() if amount > quantity(hard[name])} == {}
    assert need["requests.nvidia.com/gpu"] == quantity(hard["requests.nvidia.com/gpu"])  # and no GPU more
    assert quantity(hard["count/jobs.batch"]) >= config.side_by_side
    claims = named(site, "PersistentVolumeClaim").values()
    assert len(claims) <= quantity(hard["persistentvolumeclaims"])
    storage = sum(quantity(each["spec"]["resources"]["requests"]["storage"]) for each in claims)
    assert storage <= quantity(hard["requests.storage"])


def test_a_queue_lets_in_as_many_jobs_as_there_are_gpus_for(sites):
    [queue] = named(sites["kueue"], "ClusterQueue").values()
    [flavor] = queue["spec"]["resourceGroups"][0]["flavors"]
    given = {each["name"]: quantity(each["nominalQuota"]) for each in flavor["resources"]}
    need = asked(job(runner("kueue"))["spec"]["template"], 8)
    assert given == {
        "cpu": need["requests.cpu"],
        "memory": need["requests.memory"],
        "nvidia.com/gpu": need["requests.nvidia.com/gpu"],
    }
    assert runner("kueue").queue in named(sites["kueue"], "LocalQueue")


def test_account_claim_and_namespace_of_a_job_are_there(sites, overlay):
    site, config = sites[overlay], runner(overlay)
    assert config.namespace in named(site, "Namespace")
    assert config.service_account == "finemem-worker"
    assert config.service_account in named(site, "ServiceAccount")
    assert (config.volume is not None) is (overlay in ON_A_VOLUME)
    assert config.volume is None or config.volume.claim in named(site, "PersistentVolumeClaim")


def test_a_launcher_outside_the_cluster_names_them_too():
    inside, outside = (
        runner("gpu-1"),
        parse_runner(yaml.safe_load((PROJECT / "conf/k8s/runner.yml").read_text("utf-8"))),
    )
    assert (outside.namespace, outside.service_account, outside.volume) == (
        (inside.namespace, inside.service_account, inside.volume)
    )


def test_pods_that_write_one_checkpoint_share_a_volume_that_several_nodes_mount(sites, overlay):
    claims = named(sites[overlay], "PersistentVolumeClaim")
    if runner(overlay).nodes > 1:
        assert claims["finemem-data"]["spec"]["accessModes"] == ["ReadWriteMany"]
    others = [each for name, each in claims.items() if name != "finemem-data"]
    assert all(each["spec"]["accessModes"] == ["ReadWriteOnce"] for each in others)


def test_launcher_and_workers_see_the_same_folder(sites, overlay):
    [container] = named(sites[overlay], "Deployment")["launcher"]["spec"]["template"]["spec"]["containers"]
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "data"]
    volume = runner(overlay).volume
    if volume is not None:
        assert (mount["mountPath"], mount["subPath"]) == (f"/app/{volume.path}", volume.sub_path)


def test_launcher_and_workers_keep_data_in_the_same_place(sites, overlay):
    [container] = named(sites[overlay], "Deployment")["launcher"]["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    given |= next((each["data"] for name, each in named(sites[overlay], "ConfigMap").items() if "site" in name), {})
    config = runner(overlay)
    assert config.env["FINEMEM_DATA"] == given["FINEMEM_DATA"]
    if config.volume is None:  # /app is read-only, and what comes from the store has to lie somewhere
        assert config.env["FINEMEM_DATA"].startswith("s3://")
        assert config.env["AWS_DEFAULT_REGION"] == given["AWS_DEFAULT_REGION"]
        assert "/app/data" in config.scratch
    else:
        assert config.env["FINEMEM_DATA"] == "data"
        assert config.env["HF_HOME"] == given["HF_HOME"]


def test_pods_of_jobs_are_those_that_the_network_policies_call_workers(sites, overlay):
    labels = job(runner(overlay))["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "worker"


@pytest.mark.parametrize("backend", ["job", "jobset"])
@pytest.mark.parametrize("nodes", [1, 2])
def test_pods_of_jobs_meet_the_restricted_profile(overlay, faults, backend, nodes):
    found = values(job(runner(overlay).model_copy(update={"nodes": nodes}), backend), "template")
    pods = [each["spec"] for each in found if "containers" in each["spec"]]
    assert len(pods) == 1
    assert list(faults(pods[0])) == []
    assert pods[0]["automountServiceAccountToken"] is False
    assert pods[0]["enableServiceLinks"] is False


def test_launcher_servers_and_workers_come_from_one_version(sites, overlay):
    [container] = named(sites[overlay], "Deployment")["launcher"]["spec"]["template"]["spec"]["containers"]
    name, tag = container["image"].split(":")
    assert runner(overlay).image == f"{name}:{tag.removesuffix('-cpu')}-{'cpu' if overlay == 'dev' else 'cuda'}"


def test_rights_are_given_to_the_launcher_alone_and_in_its_namespace(site, overlay):
    queue = {"finemem-launcher-queue"} if overlay == "kueue" else set()
    assert set(named(site, "Role")) == {"finemem-launcher", *queue}
    assert not named(site, "ClusterRole")
    assert not named(site, "ClusterRoleBinding")
    for binding in named(site, "RoleBinding").values():
        assert binding["roleRef"]["name"] == binding["metadata"]["name"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "finemem-launcher", "namespace": "finemem"}]


def test_a_job_asks_for_secrets_by_name_and_for_none_that_the_site_does_not_name(overlay):
    container = job(runner(overlay))["spec"]["template"]["spec"]["containers"][0]
    references = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
    assert {each["name"] for each in references} == (set() if overlay in ON_A_VOLUME else {"object-store"})


def test_a_job_that_asks_for_more_than_the_quota_would_be_noticed(sites):
    greedy = copy.deepcopy(runner("gpu-1")).model_copy(update={"gpus": 2})
    hard = named(sites["gpu-1"], "ResourceQuota")["finemem"]["spec"]["hard"]
    need = total(servers(sites["gpu-1"]), asked(job(greedy)["spec"]["template"], 1))
    assert need["requests.nvidia.com/gpu"] > quantity(hard["requests.nvidia.com/gpu"])
