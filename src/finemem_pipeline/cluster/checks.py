"""What stands in the way of a job, found before it is created."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finemem_pipeline.cluster.api import Api, Refusal
from finemem_pipeline.cluster.kinds import ACCOUNT, CLAIM, JOB, KINDS, QUOTA, SECRET, Kind
from finemem_pipeline.cluster.registry import lacks
from finemem_pipeline.cluster.render import quantity, render
from finemem_pipeline.cluster.seam import Finding, Manifest
from finemem_pipeline.cluster.spec import JobSpec

RIGHTS = {
    "jobs.batch": ("create", "get", "list", "watch", "delete"),
    "services": ("create", "get", "delete"),
    "pods": ("list", "watch"),
    "pods/log": ("get",),
    "events": ("list", "watch"),
}
"""What a launcher does. Watching is the one that it can do without: then it asks again and again."""

UNSAID = {"limits.cpu", "requests.ephemeral-storage", "limits.ephemeral-storage"}
"""Resources that no container of a job names."""

LOCAL_QUEUE = [Kind("kueue.x-k8s.io", version, "localqueues", "LocalQueue") for version in ("v1beta2", "v1beta1")]


def check(api: Api, namespace: str, specs: Sequence[JobSpec], backend: str) -> list[Finding]:
    findings = [*_rights(api, namespace, backend, any(spec.nodes > 1 for spec in specs)), *_security(api, namespace)]
    findings += [
        Finding("error", f"There is no image {image}: its registry says so. Push it, or mend the name in runner.yml.")
        for image in sorted({spec.image for spec in specs})
        if lacks(image)
    ]
    for spec in specs:
        findings += [*_image(spec), *_named(api, spec), *_queue(api, spec), *_quota(api, spec)]
        findings += _admission(api, spec, backend)
    return findings


def _rights(api: Api, namespace: str, backend: str, several: bool) -> Iterator[Finding]:
    rights = dict(RIGHTS)
    if backend != "job":
        kind = next(kind for kind in KINDS.values() if kind.name.lower() == backend)
        rights[f"{kind.plural}.{kind.group}"] = rights.pop("jobs.batch")
    if not several or backend != "job":
        del rights["services"]
    missing = [
        f"{verb} {resource}"
        for resource, verbs in rights.items()
        for verb in verbs
        if not _may(api, namespace, verb, resource)
    ]
    if missing:
        yield Finding(
            "error",
            f"You may not, in namespace '{namespace}': {', '.join(missing)}. Ask for the role finemem-launcher of "
            f"k8s/base/accounts.yaml.",
        )
    else:
        yield Finding("ok", f"rights in namespace '{namespace}'")


def _may(api: Api, namespace: str, verb: str, resource: str) -> bool:
    plural, _, group = resource.partition(".")
    plural, _, below = plural.partition("/")
    asked = {"namespace": namespace, "verb": verb, "resource": plural, "group": group, "subresource": below}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
    }
    review = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
    return bool(review.get("status", {}).get("allowed"))


def _security(api: Api, namespace: str) -> Iterator[Finding]:
    try:
        labels = api.request("GET", f"/api/v1/namespaces/{namespace}")["metadata"].get("labels") or {}
    except Refusal as refusal:
        if refusal.code == 404:
            yield Finding(
                "error", f"There is no namespace '{namespace}'. Create it: kubectl apply --kustomize k8s/overlays/gpu-1"
            )
        return
    level = labels.get("pod-security.kubernetes.io/enforce", "none")
    if level == "restricted":
        yield Finding("ok", f"namespace '{namespace}' enforces the restricted Pod Security level")
    else:
        yield Finding("warning", f"namespace '{namespace}' enforces the Pod Security level '{level}', not restricted")


def _image(spec: JobSpec) -> Iterator[Finding]:
    if "@sha256:" not in spec.image:
        yield Finding(
            "warning",
            f"{spec.name}: the image {spec.image} is named by a tag, which may mean another one tomorrow. A digest "
            f"(name@sha256:...) stays the same.",
        )


def _named(api: Api, spec: JobSpec) -> Iterator[Finding]:
    """What the job names has to be there. Where looking is not allowed, the job itself will tell."""
    names = [(ACCOUNT, spec.service_account), *((SECRET, name) for name in spec.pull_secrets)]
    names += [(CLAIM, name) for name in sorted({claim.name for claim in spec.claims})]
    for kind, name in names:
        yield from _there(api, spec, kind, name, ())
    for name in sorted({key.name for key in spec.secret_env.values()}):
        keys = [key.key for key in spec.secret_env.values() if key.name == name]
        yield from _there(api, spec, SECRET, name, keys)


def _there(api: Api, spec: JobSpec, kind: Kind, name: str, keys: Sequence[str]) -> Iterator[Finding]:
    try:
        found = api.request("GET", kind.path(spec.namespace, name))
    except Refusal as refusal:
        if refusal.code == 404:
            yield Finding("error", f"{spec.name}: there is no {kind.name} '{name}' in namespace '{spec.namespace}'.")
        elif refusal.code == 403:
            yield Finding("warning", f"{spec.name}: whether the {kind.name} '{name}' is there cannot be looked up.")
        else:
            raise
        return
    missing = [key for key in keys if key not in (found.get("data") or {})]
    if missing:
        there = ", ".join(sorted(found.get("data") or {})) or "none"
        yield Finding("error", f"{spec.name}: the Secret '{name}' lacks {', '.join(missing)}; its keys: {there}.")
    else:
        yield Finding("ok", f"{kind.name} '{name}'")


def _queue(api: Api, spec: JobSpec) -> Iterator[Finding]:
    if not spec.queue:
        return
    for kind in LOCAL_QUEUE:
        try:
            api.request("GET", kind.path(spec.namespace, spec.queue))
        except Refusal as refusal:
            if refusal.code == 403:
                yield Finding("warning", f"{spec.name}: whether the queue '{spec.queue}' is there cannot be looked up.")
                return
        else:
            yield Finding("ok", f"queue '{spec.queue}'")
            return
    yield Finding(
        "error",
        f"{spec.name}: there is no Kueue LocalQueue '{spec.queue}' in namespace '{spec.namespace}', and nobody would "
        f"ever start the job. Create it (k8s/overlays/kueue), or leave the queue out.",
    )


def _quota(api: Api, spec: JobSpec) -> Iterator[Finding]:
    """Against what the namespace may have at all, and what of it is free now."""
    needs = dict.fromkeys(("cpu", "requests.cpu"), spec.cpu)
    needs |= dict.fromkeys(("memory", "requests.memory", "limits.memory"), spec.memory)
    needs |= {"pods": "1", "requests.nvidia.com/gpu": str(spec.gpus)}
    try:
        quotas, _ = api.items(QUOTA.path(spec.namespace))
    except Refusal:
        yield Finding("warning", f"{spec.name}: the quota of namespace '{spec.namespace}' cannot be looked up.")
        return
    for found in quotas:
        hard, used = found.get("status", {}).get("hard") or {}, found.get("status", {}).get("used") or {}
        name, about = found["metadata"]["name"], found.get("spec") or {}
        scoped = bool(about.get("scopes") or about.get("scopeSelector"))
        for resource in sorted(UNSAID & set(hard)) if not scoped else ():
            yield Finding(
                "warning",
                f"{spec.name}: the quota '{name}' counts {resource}, of which its pods say nothing. Without a "
                f"LimitRange that says it for them none is created.",
            )
        for resource, of_a_pod in needs.items():
            need = spec.nodes * quantity(of_a_pod)
            if resource not in hard or not need:
                continue
            limit, taken = quantity(hard[resource]), quantity(used.get(resource, "0"))
            amount = of_a_pod if spec.nodes == 1 else f"{spec.nodes} × {of_a_pod}"
            sentence = f"{spec.name} needs {amount} of {resource}; the quota '{name}' allows {hard[resource]}"
            if need > limit and scoped:
                yield Finding("warning", f"{sentence} in all, if these pods are within its scope.")
            elif need > limit:
                yield Finding("error", f"{sentence} in all. Ask for less, or for a larger quota.")
            elif need > limit - taken:
                yield Finding("warning", f"{sentence}, and {used[resource]} are taken. It will wait.")


def _admission(api: Api, spec: JobSpec, backend: str) -> Iterator[Finding]:
    """The server judges the manifests without keeping them."""
    for manifest in render(spec, backend):
        kind = KINDS[manifest["kind"]]
        try:
            _, warnings = api.answer("POST", kind.path(spec.namespace), {"dryRun": "All"}, manifest)
        except Refusal as refusal:
            if refusal.code == 409 or _is_there(api, kind, manifest):
                continue  # submit says whether it is the same
            if refusal.code == 404 and kind is not JOB and "namespaces" not in str(refusal):
                text = f"the cluster knows no {kind.name}. Install its controller, or use the backend 'job'."
            else:
                text = str(refusal)
            untried = "does not support dry run" in text
            yield Finding("warning" if untried else "error", f"{spec.name}: {text}")
            continue
        for warning in warnings:
            yield Finding("warning", f"{spec.name}: the server warns: {warning}")
        if not warnings:
            yield Finding("ok", f"{spec.name}: {kind.name} admitted in a dry run")


def _is_there(api: Api, kind: Kind, manifest: Manifest) -> bool:
    """A quota of jobs that is used up refuses, in a dry run, also a job that is among those counted."""
    try:
        api.request("GET", kind.path(manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
    except Refusal:
        return False
    return True
