"""Whether a registry has an image, asked as OCI's distribution specification says, without logging in.

Only a plain "there is none" counts. A registry that wants a password, or that this machine does not reach, says nothing
about what the nodes of a cluster can pull.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

TIMEOUT = 3.0  # seconds, for each request
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
HERE = ("localhost", "127.0.0.1")
"""Registries that are spoken to without TLS, as container runtimes do."""


class Reference(NamedTuple):
    """registry/name@digest or registry/name:tag."""

    registry: str
    name: str
    version: str  # the digest, or else the tag


def reference(image: str) -> Reference | None:
    """The parts of an image that names its registry; None where it does not: nodes may have it by themselves."""
    registry, slash, rest = image.partition("/")
    if not slash or not (re.search(r"[.:]", registry) or registry == "localhost"):
        return None
    name, _, digest = rest.partition("@")
    name, _, tag = name.partition(":")
    return Reference(registry, name, digest or tag or "latest")


def lacks(image: str) -> bool:
    """Whether its registry says that there is no such image."""
    asked = reference(image)
    if asked is None:
        return False
    scheme = "http" if asked.registry.partition(":")[0] in HERE else "https"
    address = f"{scheme}://{asked.registry}/v2/{asked.name}/manifests/{asked.version}"
    try:
        code, challenge = _head(address, {})
        if code == 401 and (token := _token(challenge)):
            code, _ = _head(address, {"Authorization": f"Bearer {token}"})
    except (OSError, ValueError):
        return False
    return code == 404


def _head(address: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """The status, and how the registry wants to be asked."""
    request = urllib.request.Request(address, method="HEAD", headers={"Accept": MANIFESTS, **headers})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            return reply.status, ""
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers.get("WWW-Authenticate", "")


def _token(challenge: str) -> str | None:
    """What the registry's token server gives to anybody, if it gives anything."""
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer") or "realm" not in wanted:
        return None
    realm = wanted.pop("realm")
    with urllib.request.urlopen(f"{realm}?{urlencode(wanted)}", timeout=TIMEOUT) as reply:
        told = json.load(reply)
    token = told.get("token") or told.get("access_token")
    return str(token) if token else None
