"""Requests to the API server, as JSON.

The official client finds the cluster and signs the requests; its typed models are left out, so that built-in and custom
kinds are spoken of in one way and a newer server never trips an older model.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from finemem_pipeline.cluster.seam import Manifest
from finemem_pipeline.cluster.spec import ClusterError

TRIES = 6
"""Of a request that meets a busy or restarting server: waits of 0.5, 1, 2, 4 and 8 s lie between, longer ones where the
server asks for them (Retry-After)."""
LONGEST_WAIT = 60.0
PAGE = 500


class Refusal(ClusterError):
    """The server understood, and said no."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message or reason or f"HTTP {code}")
        self.code, self.reason = code, reason


class Unreachable(ClusterError):
    """The server gave no answer, or only that it cannot answer now."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after
        """Seconds that the server wants to be left alone."""


class Api:
    """One API server."""

    def __init__(self, client: Any, where: str, renew: Callable[[], Any] | None = None) -> None:
        """`renew` gives a client that has logged in anew: tokens expire while a job is waited for."""
        self._client, self._renew = client, renew
        self.where = where

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Manifest | None = None,
        timeout: float = 30.0,
        tries: int = TRIES,
    ) -> Manifest:
        """The object in the reply. Connection errors, 429 and 5xx are tried again.

        Raises Refusal for any other error, Unreachable when the tries are used up.
        """
        return self.answer(method, path, query, body, timeout, tries)[0]

    def answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Manifest | None = None,
        timeout: float = 30.0,
        tries: int = TRIES,
    ) -> tuple[Manifest, list[str]]:
        """Like `request`, with the warnings of the server: what admission would refuse of the pods, unknown fields."""
        renew = self._renew
        for left in reversed(range(tries)):
            try:
                response = self._send(method, path, query, body, (min(timeout, 10.0), timeout))
                with self._line():
                    text = response.read()
                warnings = [value for name, value in response.headers.items() if name.lower() == "warning"]
                if 200 <= response.status < 300:
                    return self._object(text), warnings
                self._raise(response.status, text, response.headers.get("Retry-After"))
            except Unreachable as fault:
                if not left:
                    raise
                time.sleep(max(0.5 * 2 ** (tries - 1 - left), fault.after))
            except Refusal as refusal:
                if refusal.code != 401 or renew is None or not left:
                    raise
                with suppress(ClusterError):  # nothing to log in with: the refusal comes again
                    self._client = renew()
                renew = None
        raise AssertionError("unreachable")

    def _object(self, text: bytes) -> Manifest:
        try:
            found = json.loads(text or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            start = " ".join(text[:80].decode(errors="replace").split())
            raise Unreachable(f"{self.where}: this is no answer of Kubernetes: {start!r}")
        return found

    def items(self, path: str, query: Mapping[str, Any] | None = None) -> tuple[list[Manifest], str]:
        """All objects of a list, page by page, and the version of the collection that they show."""
        found: list[Manifest] = []
        asked: dict[str, Any] = {**(query or {}), "limit": PAGE}
        while True:
            page = self.request("GET", path, asked)
            found += page.get("items") or []
            more = page.get("metadata", {}).get("continue")
            if not more:
                return found, page.get("metadata", {}).get("resourceVersion", "")
            asked["continue"] = more

    def watch(
        self, path: str, version: str, seconds: int, query: Mapping[str, Any] | None = None
    ) -> Iterator[Manifest]:
        """{"type", "object"} for each change since this version, for so many seconds. Raises Refusal(410) when the
        server no longer knows the version."""
        asked = {
            **(query or {}),
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": seconds,
            "allowWatchBookmarks": "true",
        }
        for line in self.lines(path, asked, seconds + 15.0):
            try:
                event = json.loads(line)
            except ValueError as fault:
                raise Unreachable(f"{self.where}: a line of the watch is cut off") from fault
            if event["type"] == "ERROR":
                status = event["object"]
                self._raise(status.get("code", 500), json.dumps(status).encode())
            yield event

    def lines(self, path: str, query: Mapping[str, Any], silence: float) -> Iterator[bytes]:
        """The lines of an open stream; Unreachable after so many seconds without one."""
        response = self._send("GET", path, query, None, (10.0, silence))
        rest = b""
        try:
            with self._line():
                if response.status != 200:
                    self._raise(response.status, response.read(), response.headers.get("Retry-After"))
                for chunk in response.response.stream(2**16, decode_content=True):
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield from whole
            if rest:
                yield rest
        finally:
            response.response.close()  # before it goes back: what was not read must not be read by the next request
            response.response.release_conn()

    @contextmanager
    def _line(self) -> Iterator[None]:
        """Whatever goes wrong on the way to the server and back is Unreachable."""
        import urllib3
        from kubernetes.client.exceptions import ApiException

        try:
            yield
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as fault:
            raise Unreachable(f"{self.where}: {_words(fault)}") from fault
        except ApiException as fault:  # TLS
            raise Unreachable(f"{self.where}: {str(fault.reason).replace(chr(10), ' ')}") from fault

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Manifest | None,
        timeout: tuple[float, float],
    ) -> Any:
        headers = {"Accept": "application/json, */*"} | ({"Content-Type": "application/json"} if body else {})
        with self._line():
            signed = self._client.param_serialize(
                method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            url = signed[1] + (f"?{urlencode(query)}" if query else "")
            return self._client.call_api(signed[0], url, signed[2], signed[3], _request_timeout=timeout)

    def _raise(self, code: int, text: bytes, after: str | None = None) -> None:
        try:
            status = json.loads(text)
        except ValueError:
            status = {}
        status = status if isinstance(status, dict) else {}
        message = status.get("message") or text.decode(errors="replace")[:500].strip()
        if code == 429 or code >= 500:
            seconds = float(after) if after is not None and after.isdecimal() else 0.0
            raise Unreachable(f"{self.where}: HTTP {code} {message}", min(seconds, LONGEST_WAIT))
        raise Refusal(code, status.get("reason", ""), message)


def _words(fault: BaseException) -> str:
    """The innermost cause, which is what a person can act on: "Connection refused", "Name or service not known"."""
    reason = getattr(fault, "reason", None)
    inner = reason if isinstance(reason, BaseException) else fault
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    if type(inner) is ValueError:  # a length was expected where the connection ended
        return "the connection was lost in the middle of an answer"
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return str(text)


def connect(context: str | None, kubeconfig: Path | None, timeout: float) -> Api:
    """The cluster of a kubeconfig, or of the pod that this runs in; spoken to once.

    Raises ClusterError within `timeout` seconds: also when a name server or a login helper does not answer.
    """
    found: list[Api] = []
    faults: list[Exception] = []
    tried = _Tried(context, kubeconfig)
    tried.prepare()

    def try_it() -> None:
        try:
            api = tried.load()
            api.request("GET", "/version", timeout=timeout, tries=1)
            found.append(api)
        except Exception as fault:  # handed to the thread that waits
            faults.append(fault)

    attempt = threading.Thread(target=try_it, name="connect", daemon=True)
    attempt.start()
    attempt.join(timeout)
    if found:
        return found[0]
    if faults and isinstance(faults[0], Refusal) and faults[0].code in (401, 403):
        raise ClusterError(tried.message(f"the server does not know you: {faults[0]}", "Log in to the cluster again."))
    raise ClusterError(tried.message(str(faults[0]) if faults else f"no answer within {timeout:.0f} s"))


class _Tried:
    """Where the cluster was looked for."""

    def __init__(self, context: str | None, kubeconfig: Path | None) -> None:
        self.context, self.server, self._in_cluster = context, "", False
        named = os.environ.get("KUBECONFIG", "")
        self.kubeconfig = str(kubeconfig) if kubeconfig else named or str(Path("~/.kube/config").expanduser())
        self.source = "given" if kubeconfig else "from KUBECONFIG" if named else "KUBECONFIG is not set"

    def prepare(self) -> None:
        """What takes no network. Raises ClusterError if there is nothing to try."""
        files = [Path(part) for part in self.kubeconfig.split(os.pathsep) if part]
        if not any(file.is_file() for file in files):
            if "KUBERNETES_SERVICE_HOST" not in os.environ:
                raise ClusterError(self.message("no such file, and this is not a pod of a cluster"))
            self.kubeconfig, self.source = "the service account of this pod", "no kubeconfig is there"
            if self.context is not None:
                raise ClusterError(self.message("this context is asked for, and there is no kubeconfig that has it"))
            self._in_cluster = True
        try:
            import kubernetes.client
            import kubernetes.config  # noqa: F401 - both take their time, which is not the server's
        except ImportError as fault:
            text = f"the Python package kubernetes is missing ({fault})"
            raise ClusterError(self.message(text, "pip install 'finemem_pipeline[cluster]'")) from fault

    def load(self) -> Api:
        client = self._log_in()
        return Api(client, f"the API server {self.server}", self._log_in)

    def _log_in(self) -> Any:
        from kubernetes import client, config

        settings = client.Configuration()
        if self._in_cluster:
            config.load_incluster_config(settings)
        else:
            self._read_file(config, settings)
        self.server = settings.host
        settings.retries = False  # who asks knows better what may be asked twice
        settings.connection_pool_maxsize = 64
        return client.ApiClient(settings)

    def _read_file(self, config: Any, settings: Any) -> None:
        import yaml

        try:
            contexts, active = config.list_kube_config_contexts(config_file=self.kubeconfig)
        except (config.ConfigException, yaml.YAMLError, OSError, ValueError) as fault:
            raise ClusterError(f"the kubeconfig cannot be used: {fault}") from fault
        except (TypeError, AttributeError, KeyError) as fault:
            raise ClusterError("the kubeconfig cannot be used: the file holds something else") from fault
        names = sorted(entry["name"] for entry in contexts or ())
        if self.context is None and active:
            self.context = active["name"]
        if self.context not in names:
            raise ClusterError(f"no context of this name; the kubeconfig has: {', '.join(names) or 'none'}")
        try:
            config.load_kube_config(
                config_file=self.kubeconfig, context=self.context, client_configuration=settings, persist_config=False
            )
        except config.ConfigException as fault:
            raise ClusterError(f"the kubeconfig cannot be used: {fault}") from fault

    def message(self, found: str, advice: str = "") -> str:
        advice = advice or (
            "Start the cluster or the way to it (VPN, tunnel, port-forward), or name another one: the environment "
            "variable KUBECONFIG, or the kubeconfig and context of the command. `kubectl cluster-info` shows the same."
        )
        return (
            "The Kubernetes cluster cannot be used.\n"
            f"  kubeconfig: {self.kubeconfig} ({self.source})\n"
            f"  context:    {self.context or 'none'}\n"
            f"  server:     {self.server or 'unknown'}\n"
            f"  found:      {found}\n"
            f"{advice}"
        )
