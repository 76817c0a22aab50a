"""A Kubernetes API server for tests and demonstrations, on loopback, whose pods are processes of this machine.

    with FakeApi(folder) as api:
        api.kubeconfig(folder / "kubeconfig")     # point a client at it
        api.play("*", Scenario())                 # what becomes of jobs whose name matches
        ...
        print(api.timeline())

It keeps objects of any kind and speaks create, get, list, watch, delete and log as the real one does: uid and
resourceVersion, 404, 409 and 422 as Status objects, selectors, pages, 410 for watches that come too late, propagation
of deletes, warnings of admission in a dry run. fake_jobs.py plays the controllers and the nodes.

`python -m finemem_pipeline.cluster.fake_api KUBECONFIG` serves until it is interrupted.
"""

from __future__ import annotations

import base64
import copy
import json
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from finemem_pipeline.cluster.fake_jobs import Controllers, Scenario

__all__ = ["FakeApi", "Scenario"]

Thing = dict[str, Any]

PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<below>[^/]+))?$"
)
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
KINDS = {
    "jobs": "Job", "pods": "Pod", "services": "Service", "events": "Event", "secrets": "Secret", "jobsets": "JobSet",
    "trainjobs": "TrainJob", "namespaces": "Namespace", "resourcequotas": "ResourceQuota",
    "serviceaccounts": "ServiceAccount", "persistentvolumeclaims": "PersistentVolumeClaim", "localqueues": "LocalQueue",
}  # fmt: skip
BUILT_IN = {"", "batch", "authorization.k8s.io"}


class Answer(Exception):
    """A refusal, as a Status object; `after`: seconds until the server wants to be asked again."""

    def __init__(self, code: int, reason: str, message: str, after: int | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.after = code, reason, after

    def status(self) -> Thing:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Objects by kind, namespace and name, and what has changed since when."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._things: dict[str, dict[tuple[str, str], Thing]] = {}
        self._history: list[tuple[int, str, str, Thing]] = []
        self._version = 1000
        self.oldest = 0
        self.notes: list[tuple[float, str]] = []

    def note(self, text: str) -> None:
        self.notes.append((time.time(), text))

    @property
    def version(self) -> int:
        return self._version

    def get(self, plural: str, namespace: str, name: str) -> Thing | None:
        with self.changed:
            found = self._things.get(plural, {}).get((namespace, name))
            return copy.deepcopy(found)

    def all(self, plural: str, namespace: str | None = None) -> list[Thing]:
        with self.changed:
            return [
                copy.deepcopy(thing)
                for (where, _), thing in self._things.get(plural, {}).items()
                if namespace is None or where == namespace
            ]

    def add(self, plural: str, thing: Thing) -> Thing:
        """With the fields that the server sets. Raises Answer(409) if the name is taken."""
        with self.changed:
            thing = copy.deepcopy(thing)
            meta = thing["metadata"]
            where = (meta.get("namespace", ""), meta["name"])
            if where in self._things.setdefault(plural, {}):
                raise Answer(409, "AlreadyExists", f'{plural} "{meta["name"]}" already exists')
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
            self._things[plural][where] = thing
            return self._change("ADDED", plural, thing)

    def put(self, plural: str, thing: Thing) -> None:
        """Unless it is gone by now, or another has its name."""
        with self.changed:
            meta = thing["metadata"]
            there = self._things.get(plural, {}).get((meta.get("namespace", ""), meta["name"]))
            if there is not None and there["metadata"]["uid"] == meta["uid"] and _bare(there) != _bare(thing):
                kept = self._things[plural][meta.get("namespace", ""), meta["name"]] = copy.deepcopy(thing)
                self._change("MODIFIED", plural, kept)

    def remove(self, plural: str, thing: Thing) -> None:
        with self.changed:
            meta = thing["metadata"]
            if self._things.get(plural, {}).pop((meta.get("namespace", ""), meta["name"]), None) is not None:
                self._change("DELETED", plural, thing)

    def since(self, version: int, plural: str) -> list[tuple[int, str, Thing]]:
        return [(at, change, thing) for at, change, where, thing in self._history if at > version and where == plural]

    def _change(self, change: str, plural: str, thing: Thing) -> Thing:
        self._version += 1
        thing["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, change, plural, copy.deepcopy(thing)))
        self.changed.notify_all()
        return copy.deepcopy(thing)


def _bare(thing: Thing) -> Thing:
    meta = {key: value for key, value in thing["metadata"].items() if key != "resourceVersion"}
    return thing | {"metadata": meta}


class FakeApi:
    """Serves on a free port of 127.0.0.1 within its `with` block."""

    def __init__(
        self,
        root: Path,
        namespaces: Sequence[str] = ("finemem",),
        installed: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`root` is where the processes run. `installed`: groups besides the built-in ones, such as
        "jobset.x-k8s.io". `environment`: what an image would set; by default what Python needs of this process's."""
        self.store = Store()
        self.requests: list[tuple[str, str]] = []
        """(method, path with query), in order."""
        self._installed = BUILT_IN | set(installed)
        self._controllers = Controllers(self.store, root, environment)
        self._failures: list[tuple[int, int | None]] = []
        self._denied: set[tuple[str, str]] = set()
        self.refusal: tuple[int, str, str] | None = None
        """(code, reason, message) with which admission refuses whatever is tried in a dry run."""
        self.token = "nobody"
        """The only one that is known; set another, and those who have this one are refused (401)."""
        self._sockets: set[socket.socket] = set()
        self._server: _Server | None = None
        self._port = 0
        for name in namespaces:
            labels = {"pod-security.kubernetes.io/enforce": "restricted"}
            self.store.add(
                "namespaces",
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
            )
            self.create("serviceaccounts", {"metadata": {"name": "default", "namespace": name}})

    def __enter__(self) -> FakeApi:
        self._serve()
        self._controllers.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._controllers.stop()
        self._shut()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": self.token}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "finemem"}}],
        }
        path.write_text(json.dumps(config))
        return path

    # What a test does to it.

    def play(self, name: str, scenario: Scenario) -> None:
        """For jobs whose name matches this pattern (fnmatch), unless they have begun."""
        self._controllers.play(name, scenario)

    def create(self, plural: str, thing: Thing) -> Thing:
        """An object that is there already: a Secret, a ResourceQuota, a LocalQueue, ..."""
        return self.store.add(plural, {"apiVersion": "v1", "kind": KINDS[plural], **thing})

    def secret(self, namespace: str, name: str, **values: str) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        self.create("secrets", {"metadata": {"name": name, "namespace": namespace}, "data": data})

    def objects(self, plural: str) -> list[Thing]:
        """A copy of all objects of a kind: jobs, pods, services, events, ..."""
        return self.store.all(plural)

    def deny(self, verb: str, plural: str) -> None:
        """From now on with 403."""
        self._denied.add((verb, plural))

    def fail(self, times: int, code: int = 500, after: int | None = None) -> None:
        """Answer the next requests with this code; `after`: and with this Retry-After."""
        self._failures += [(code, after)] * times

    def forget(self) -> None:
        """End the open watches, and answer those that go on from before now with 410."""
        with self.store.changed:
            self.store.note("the server forgets what was before")
            self.store.oldest = self.store.version + 1
            self.store.changed.notify_all()

    def down(self, seconds: float) -> None:
        """Drop the open connections and refuse new ones; returns when it serves again. Pods and controllers go on."""
        self.store.note("the API server is down")
        self._shut()
        time.sleep(seconds)
        self._serve()
        self.store.note("the API server is up")

    def timeline(self) -> str:
        """What happened when, in seconds since the first note."""
        notes = sorted(self.store.notes)
        return "\n".join(f"{at - notes[0][0]:7.2f}  {text}" for at, text in notes)

    # Serving.

    def _serve(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fake-api", daemon=True).start()

    def _shut(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        for connection in list(self._sockets):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._sockets.clear()

    @property
    def serving(self) -> bool:
        return self._server is not None

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: Thing | None
    ) -> tuple[int, Thing | Iterator[bytes], Sequence[str]]:
        """(code, object or lines, warnings). Raises Answer for any refusal."""
        if self._failures:
            code, after = self._failures.pop(0)
            raise Answer(code, "InternalError", "the server is not able to answer now", after)
        if path == "/version":
            return 200, {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}, ()
        found = PATH.match(path)
        if found is None or (found["group"] or "") not in self._installed:
            raise Answer(404, "NotFound", "the server could not find the requested resource")
        namespace, plural, name = found["namespace"] or "", found["plural"], found["name"] or ""
        if plural == "selfsubjectaccessreviews" and body:
            asked = body["spec"]["resourceAttributes"]
            return 201, {**body, "status": {"allowed": (asked["verb"], asked["resource"]) not in self._denied}}, ()
        self._authorise(method, query, plural, name)
        if method == "POST":
            return 201, *self._create(plural, namespace, body or {}, query)
        if method == "DELETE":
            return 200, self._delete(plural, namespace, name, body or {}), ()
        return 200, self._read(plural, namespace, name, found["below"], query), ()

    def _read(
        self, plural: str, namespace: str, name: str, below: str | None, query: Mapping[str, str]
    ) -> Thing | Iterator[bytes]:
        if below == "log":
            return self._controllers.log(namespace, name, query)
        if name:
            return self._existing(plural, namespace, name)
        if query.get("watch") == "true":
            return self._watch(plural, namespace, query)
        return self._list(plural, namespace, query)

    def _authorise(self, method: str, query: Mapping[str, str], plural: str, name: str) -> None:
        read = "get" if name else "watch" if query.get("watch") == "true" else "list"
        verb = {"POST": "create", "DELETE": "delete"}.get(method, read)
        if (verb, plural) in self._denied:
            raise Answer(403, "Forbidden", f'{plural} is forbidden: User "nobody" cannot {verb} resource "{plural}"')

    def _existing(self, plural: str, namespace: str, name: str) -> Thing:
        thing = self.store.get(plural, namespace, name)
        if thing is None:
            raise Answer(404, "NotFound", f'{plural} "{name}" not found')
        return thing

    def _create(self, plural: str, namespace: str, thing: Thing, query: Mapping[str, str]) -> tuple[Thing, list[str]]:
        meta = thing["metadata"]
        if self.store.get("namespaces", "", namespace) is None:
            raise Answer(404, "NotFound", f'namespaces "{namespace}" not found')
        if meta.get("namespace", namespace) != namespace:
            raise Answer(400, "BadRequest", "the namespace of the object does not match the namespace of the request")
        if not DNS_LABEL.match(meta["name"]):
            message = f'{KINDS[plural]} "{meta["name"]}" is invalid: metadata.name: Invalid value: "{meta["name"]}"'
            raise Answer(422, "Invalid", message)
        meta.setdefault("namespace", namespace)
        warnings = self._controllers.warnings(thing)
        if query.get("dryRun") == "All" and self.refusal is not None:
            raise Answer(*self.refusal)
        if query.get("dryRun") == "All":
            if self.store.get(plural, namespace, meta["name"]) is not None:
                raise Answer(409, "AlreadyExists", f'{plural} "{meta["name"]}" already exists')
            return thing, warnings
        made = self.store.add(plural, thing)
        self.store.note(f"{made['kind']} {meta['name']} created")
        return made, warnings

    def _delete(self, plural: str, namespace: str, name: str, options: Thing) -> Thing:
        with self.store.changed:
            thing = self._existing(plural, namespace, name)
            wanted = (options.get("preconditions") or {}).get("uid")
            if wanted and wanted != thing["metadata"]["uid"]:
                raise Answer(409, "Conflict", f"the UID in the precondition ({wanted}) is not that of the object")
            policy = options.get("propagationPolicy", "Orphan")
            self.store.note(f"{thing['kind']} {name} deleted, propagation {policy}")
            return self._controllers.delete(plural, thing, policy)

    def _list(self, plural: str, namespace: str, query: Mapping[str, str]) -> Thing:
        with self.store.changed:
            found = [thing for thing in self.store.all(plural, namespace or None) if _selected(thing, query)]
            version = str(self.store.version)
        start, size = int(query.get("continue") or 0), int(query.get("limit") or 0) or len(found)
        meta = {"resourceVersion": version}
        if start + size < len(found):
            meta["continue"] = str(start + size)
        items = [{key: value for key, value in thing.items() if key not in ("apiVersion", "kind")} for thing in found]
        return {"apiVersion": "v1", "kind": "List", "metadata": meta, "items": items[start : start + size]}

    def _watch(self, plural: str, namespace: str, query: Mapping[str, str]) -> Iterator[bytes]:
        version = int(query.get("resourceVersion") or 0)
        until = time.monotonic() + int(query.get("timeoutSeconds", 300))
        while self.serving and time.monotonic() < until:
            with self.store.changed:
                if version < self.store.oldest:
                    status = Answer(410, "Expired", f"too old resource version: {version}").status()
                    yield json.dumps({"type": "ERROR", "object": status}).encode()
                    return
                news = self.store.since(version, plural)
                if not news:
                    self.store.changed.wait(min(0.5, max(0.0, until - time.monotonic())))
            for at, change, thing in news:
                version = at
                if thing["metadata"].get("namespace", "") in (namespace, "") and _selected(thing, query):
                    yield json.dumps({"type": change, "object": thing}).encode()
        if self.serving:
            meta = {"resourceVersion": str(version)}
            yield json.dumps({"type": "BOOKMARK", "object": {"kind": KINDS.get(plural, ""), "metadata": meta}}).encode()


def _selected(thing: Thing, query: Mapping[str, str]) -> bool:
    labels = thing["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        name, equals, value = term.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], api: FakeApi) -> None:
        self.api = api
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away in the middle of an answer: nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.api._sockets.add(self.connection)

    def finish(self) -> None:
        self.server.api._sockets.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self._reply()

    def do_DELETE(self) -> None:
        self._reply()

    def _reply(self) -> None:
        url = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        self.server.api.requests.append((self.command, self.path))
        headers: list[tuple[str, str]] = []
        try:
            if self.headers.get("Authorization") != f"Bearer {self.server.api.token}":
                raise Answer(401, "Unauthorized", "Unauthorized")
            code, found, warnings = self.server.api.answer(self.command, url.path, dict(parse_qsl(url.query)), body)
            headers = [("Warning", f'299 - "{warning}"') for warning in warnings]
        except Answer as refusal:
            code, found = refusal.code, refusal.status()
            headers = [] if refusal.after is None else [("Retry-After", str(refusal.after))]
        if isinstance(found, dict):
            self._whole(code, json.dumps(found).encode(), "application/json", headers)
        else:
            self._stream(found, "application/json" if url.path.split("/")[-1] != "log" else "text/plain")

    def _whole(self, code: int, text: bytes, content: str, headers: Sequence[tuple[str, str]]) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content)
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, lines: Iterator[bytes], content: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            text = line + b"\n"
            self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


if __name__ == "__main__":
    import tempfile

    with FakeApi(Path(tempfile.mkdtemp())) as served, suppress(KeyboardInterrupt):
        print(f"{served.kubeconfig(Path(sys.argv[1]))} leads to {served.url}", flush=True)  # noqa: T201
        threading.Event().wait()
