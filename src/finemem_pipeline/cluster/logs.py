"""The lines that pods write, across lost connections and pods that take over from others."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime

from finemem_pipeline.cluster.api import Api, Refusal, Unreachable
from finemem_pipeline.cluster.diagnosis import CONTAINERS, pod_end, terminated
from finemem_pipeline.cluster.kinds import POD
from finemem_pipeline.cluster.seam import Handle, Manifest

SILENCE_SECONDS = 300.0
"""A stream without a line for so long is opened anew: it may be dead."""
PAUSE_SECONDS = 0.5
LAST_TRIES = 20
"""To read what a pod has left, when its node does not answer."""


def container_of(pod: Manifest) -> str:
    names = [str(container["name"]) for container in pod["spec"]["containers"]]
    return next((name for name in names if name in CONTAINERS), names[0])


def read(api: Api, pods: list[Manifest], ranks: Collection[int] | None, tail: int | None) -> Iterator[tuple[int, str]]:
    """What is there now, rank by rank; with `tail` only of the newest pod of each rank."""
    for rank in sorted({pod_end(pod).rank for pod in pods} if ranks is None else ranks):
        of_rank = of(pods, rank)
        for pod in of_rank if tail is None else of_rank[-1:]:
            path = POD.path(pod["metadata"]["namespace"], pod["metadata"]["name"], "log")
            query = {"container": container_of(pod)} | ({} if tail is None else {"tailLines": tail})
            lines = []
            try:
                lines = [line.decode(errors="replace") for line in api.lines(path, query, silence=30.0)]
            except Refusal as refusal:
                if refusal.code not in (400, 404):  # not started yet, or gone
                    raise
            if not lines:
                lines = (terminated(pod).get("message") or "").splitlines()
            for line in lines:
                yield rank, line


def of(pods: list[Manifest], rank: int) -> list[Manifest]:
    """The pods of one rank, in the order in which they were made."""
    return sorted(
        (pod for pod in pods if pod_end(pod).rank == rank), key=lambda pod: pod["metadata"]["creationTimestamp"]
    )


def follow(
    api: Api,
    handle: Handle,
    pods: Callable[[bool], list[Manifest]],
    over: Callable[[], bool],
    ranks: Collection[int],
    leave: threading.Event,
) -> Iterator[tuple[int, str]]:
    """Lines as they come, until the job is over and everything is read, or `leave` is set. `pods` is told whether the
    job is over: then the list has to be the last one."""
    lines: queue.Queue[Line] = queue.Queue()
    gone = threading.Event()  # who listened does no more

    def left() -> bool:
        return leave.is_set() or gone.is_set()

    threads = [
        threading.Thread(
            target=_follow_rank,
            args=(api, rank, pods, over, left, lines),
            name=f"logs-{handle.name}-{rank}",
            daemon=True,
        )
        for rank in ranks
    ]
    for thread in threads:
        thread.start()
    open_ranks = len(threads)
    try:
        while open_ranks and not left():
            try:
                found = lines.get(timeout=PAUSE_SECONDS)
            except queue.Empty:
                continue
            if isinstance(found, Exception):
                raise found
            if found is None:
                open_ranks -= 1
            else:
                yield found
    finally:
        gone.set()


Line = tuple[int, str] | Exception | None
"""(rank, text); what made the reading of a rank fail; None at its end."""


def _follow_rank(
    api: Api,
    rank: int,
    pods: Callable[[bool], list[Manifest]],
    over: Callable[[], bool],
    left: Callable[[], bool],
    lines: queue.Queue[Line],
) -> None:
    done: set[str] = set()
    cursors: dict[str, Cursor] = defaultdict(Cursor)
    silent: dict[str, int] = defaultdict(int)
    try:
        while not left():
            try:
                finished = over()  # asked before the pods are: those of a job that is over do not change any more
                begun = [pod for pod in of(pods(finished), rank) if pod.get("status", {}).get("phase") != "Pending"]
                for pod in begun:
                    uid, ended = pod["metadata"]["uid"], bool(terminated(pod))
                    if uid in done:
                        continue
                    try:
                        _stream(api, pod, cursors[uid], rank, lines, left)
                    except Unreachable:
                        silent[uid] += 1
                        if not (ended or finished) or silent[uid] < LAST_TRIES:
                            raise
                    done |= {uid} if ended else set()
                if finished:
                    break
            except Unreachable:
                pass  # it goes on from where the last line stood
            time.sleep(PAUSE_SECONDS)
        lines.put(None)
    except Exception as fault:  # raised where the lines are read
        lines.put(fault)


def _stream(
    api: Api, pod: Manifest, cursor: Cursor, rank: int, lines: queue.Queue[Line], left: Callable[[], bool]
) -> None:
    query = {"container": container_of(pod), "follow": "true", "timestamps": "true"}
    if cursor.since:
        query["sinceTime"] = cursor.since
    path = POD.path(pod["metadata"]["namespace"], pod["metadata"]["name"], "log")
    try:
        for raw in api.lines(path, query, silence=SILENCE_SECONDS):
            if left():
                return
            text = cursor.new(raw.decode(errors="replace"))
            if text is not None:
                lines.put((rank, text))
    except Refusal as refusal:
        if refusal.code not in (400, 404):  # not started yet, or gone
            raise


class Cursor:
    """How far one log was read. The server can only be asked for whole seconds, so lines come twice; and those of
    standard output and standard error may come in another order than that of their time."""

    def __init__(self) -> None:
        self._second = 0
        self._lines: set[str] = set()
        self._before: set[str] = set()
        """Of the second before, which may still have late ones."""
        self._unstamped: set[str] = set()

    @property
    def since(self) -> str:
        """Where to go on from; lines of this second are known when they come again."""
        return datetime.fromtimestamp(self._second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if self._second else ""

    def new(self, line: str) -> str | None:
        """Its text without the time, unless it was seen before; it is from now on."""
        stamp, _, text = line.partition(" ")
        try:
            second = int(datetime.fromisoformat(stamp).timestamp())
        except ValueError:  # the node itself says that it cannot read on: no place to go on from
            known = line in self._unstamped
            self._unstamped.add(line)
            return None if known else line
        if second > self._second:
            self._second, self._before, self._lines = second, self._lines, set()
        if line in self._lines or line in self._before:
            return None
        (self._lines if second == self._second else self._before).add(line)
        return text
