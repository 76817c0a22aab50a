"""Who reaches whom: the policies of each overlay, evaluated for every pair of ends that there are."""

from __future__ import annotations

import ipaddress
from itertools import product
from typing import Any

import pytest

PODS = ("launcher", "worker", "mlflow", "reasoner", "rollouts", "stranger")
"""By component; the stranger has none. All in the namespace."""
DNS, OUTSIDER = "dns", "outsider"
"""Pods of other namespaces: kube-dns, and anything."""
PUBLIC, PRIVATE, METADATA = "52.1.2.3", "10.1.2.3", "169.254.169.254"
PORTS = (22, 53, 80, 443, 5000, 5432, 6443, 8000, 29500, 40000)

Way = tuple[str, str, int]


def labels(pod: str) -> dict[str, str]:
    if pod == DNS:
        return {"k8s-app": "kube-dns"}
    return {"app.kubernetes.io/component": pod} if pod not in ("stranger", OUTSIDER) else {}


def namespace(pod: str) -> dict[str, str]:
    name = {DNS: "kube-system", OUTSIDER: "elsewhere"}.get(pod, "finemem")
    return {"kubernetes.io/metadata.name": name}


def selects(selector: dict[str, Any], has: dict[str, str]) -> bool:
    for wanted in selector.get("matchExpressions", ()):
        assert wanted["operator"] == "In"
        if has.get(wanted["key"]) not in wanted["values"]:
            return False
    return all(has.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def matches(peer: dict[str, Any], end: str) -> bool:
    if "ipBlock" in peer:
        if end[0].isalpha():
            return False  # the address of a pod is the cluster's affair, and no block here is meant for one
        address = ipaddress.ip_address(end)
        blocks = [peer["ipBlock"]["cidr"], *peer["ipBlock"].get("except", ())]
        inside = [address in ipaddress.ip_network(block) for block in blocks]
        return inside[0] and not any(inside[1:])
    if not end[0].isalpha():
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], namespace(end)):
            return False
    elif namespace(end) != namespace("worker"):
        return False
    return selects(peer.get("podSelector", {}), labels(end))


def admits(rule: dict[str, Any], side: str, end: str, port: int) -> bool:
    ports = rule.get("ports")
    if ports and not any(each["port"] <= port <= each.get("endPort", each["port"]) for each in ports):
        return False
    return side not in rule or any(matches(peer, end) for peer in rule[side])


def open_end(policies: list[dict[str, Any]], pod: str, direction: str, other: str, port: int) -> bool:
    """Whether the policies of the namespace let this pod send to, or hear from, the other end."""
    if namespace(pod) != namespace("worker"):
        return True
    side = "to" if direction == "Egress" else "from"
    chosen = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], labels(pod))
    ]
    rules = [rule for spec in chosen for rule in spec.get(direction.lower(), ())]
    return not chosen or any(admits(rule, side, other, port) for rule in rules)


def ways(site: tuple[dict[str, Any], ...]) -> set[Way]:
    policies = [each for each in site if each["kind"] == "NetworkPolicy"]
    found = set()
    for source, target, port in product((*PODS, OUTSIDER), (*PODS, DNS, PUBLIC, PRIVATE, METADATA), PORTS):
        sends = open_end(policies, source, "Egress", target, port)
        hears = not target[0].isalpha() or open_end(policies, target, "Ingress", source, port)
        if sends and hears and (namespace(source), namespace(target)) != (namespace(OUTSIDER), namespace(DNS)):
            found.add((source, target, port))
    return found - {(OUTSIDER, address, port) for address in (PUBLIC, PRIVATE, METADATA) for port in PORTS}


EVERYWHERE = {
    *((pod, DNS, 53) for pod in PODS),
    *(("worker", "worker", port) for port in (5000, 5432, 6443, 8000, 29500, 40000)),
    *(("launcher", address, port) for address in (PUBLIC, PRIVATE, METADATA) for port in (443, 6443)),
    ("launcher", DNS, 443),
    ("launcher", DNS, 6443),
    ("launcher", "mlflow", 5000),
    ("worker", "mlflow", 5000),
}
LARGE = {
    *((pod, server, 8000) for pod in ("launcher", "worker") for server in ("reasoner", "rollouts")),
    *((server, PUBLIC, 443) for server in ("reasoner", "rollouts")),  # the Hub
    *(("mlflow", address, 5432) for address in (PUBLIC, PRIVATE, METADATA, DNS)),
}


def test_each_connection_of_the_project_is_open_and_no_other(site, overlay):
    bucket = {("worker", PUBLIC, 443)} if overlay in ("gpu-8", "kueue") else set()
    servers = LARGE if overlay not in ("dev", "gpu-1") else set()
    assert ways(site) == EVERYWHERE | servers | bucket


@pytest.mark.parametrize("left_out", ["nothing-else", "worker-to-worker", "mlflow-from-runs", "all-to-dns"])
def test_a_policy_that_is_missing_would_be_noticed(sites, left_out):
    site = tuple(each for each in sites["dev"] if each["metadata"]["name"] != left_out)
    assert ways(site) != ways(sites["dev"])
