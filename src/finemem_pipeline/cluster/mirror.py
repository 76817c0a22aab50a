"""A live copy of the objects of one kind in a namespace.

However many jobs are waited for, there is one list and one watch per kind: the server is asked for what changed, and
once in a while for everything, in case a change went missing.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from finemem_pipeline.cluster.api import Api, Refusal, Unreachable
from finemem_pipeline.cluster.kinds import Kind
from finemem_pipeline.cluster.seam import Manifest

RELIST_SECONDS = 300
WATCH_SECONDS = 60
"""A watch is asked for again after so long, from where it was: a connection that died unnoticed is found out."""
LONGEST_PAUSE = 15.0


class Mirror:
    """`key` says under which name an object is asked for. `keep_gone`: what ends between two looks is not missed."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        namespace: str,
        key: Callable[[Manifest], str],
        query: Mapping[str, Any] | None = None,
        keep_gone: bool = True,
    ) -> None:
        self._api, self._path, self._key, self._query = api, kind.path(namespace), key, dict(query or {})
        self.name = kind.plural
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, Manifest]] = defaultdict(dict)
        self._gone: dict[str, dict[str, Manifest]] = defaultdict(dict)
        self._keep_gone = keep_gone
        self._stop = threading.Event()
        self.fresh = 0.0
        """time.monotonic() of the last word from the server; 0 before the first list."""
        self.fault: Exception | None = None
        """Why there is no word from it now."""
        self.lost_at: float | None = None
        """time.monotonic() since when."""
        self.gaps = 0
        """How often the watch had to begin anew from a list: 410, lost connections."""
        self._thread = threading.Thread(target=self._run, name=f"mirror-{kind.plural}", daemon=True)
        self._thread.start()

    def of(self, key: str) -> list[Manifest]:
        with self._lock:
            return list(self._objects.get(key, {}).values())

    def gone(self, key: str) -> list[Manifest]:
        """Those that were there and are no more, as they were last seen."""
        with self._lock:
            return list(self._gone.get(key, {}).values())

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        pause = 0.5
        while not self._stop.is_set():
            try:
                self._list_and_watch()
                pause = 0.5
                continue
            except Refusal as refusal:
                if refusal.code == 410:
                    self.gaps += 1
                    self._stop.wait(0.2)
                    continue
                self._lost(refusal)
            except Unreachable as fault:
                self._lost(fault)
                self.gaps += 1
                pause = max(pause, fault.after)
            except Exception as fault:
                self._lost(fault)  # a fault of ours: who waits has to hear of it
                raise
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _list_and_watch(self) -> None:
        found, version = self._api.items(self._path, self._query)
        objects: dict[str, dict[str, Manifest]] = defaultdict(dict)
        for thing in found:
            objects[self._key(thing)][thing["metadata"]["uid"]] = thing
        with self._lock:
            before, self._objects = self._objects, objects
            for key, things in before.items():
                for uid in things.keys() - objects[key].keys():
                    self._let_go(key, things[uid])
        self._heard()
        until = time.monotonic() + RELIST_SECONDS
        while not self._stop.is_set() and (left := until - time.monotonic()) > 1:
            began = time.monotonic()
            for event in self._api.watch(self._path, version, min(int(left), WATCH_SECONDS), self._query):
                thing = event["object"]
                version = thing["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._apply(event["type"], thing)
                self._heard()
            self._heard()
            if time.monotonic() - began < 1:
                self._stop.wait(1.0)  # a server that ends every watch at once is asked by and by

    def _apply(self, change: str, thing: Manifest) -> None:
        with self._lock:
            key, uid = self._key(thing), thing["metadata"]["uid"]
            if change == "DELETED":
                self._objects[key].pop(uid, None)
                self._let_go(key, thing)
            else:
                self._objects[key][uid] = thing

    def _let_go(self, key: str, thing: Manifest) -> None:
        if self._keep_gone:
            self._gone[key][thing["metadata"]["uid"]] = thing

    def _heard(self) -> None:
        self.fresh, self.fault, self.lost_at = time.monotonic(), None, None

    def _lost(self, fault: Exception) -> None:
        self.fault = fault
        self.lost_at = self.lost_at or time.monotonic()
