"""The lines that pods write, across lost connections and pods that take over from others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterator

from finemem_pipeline.cluster.api import Api, Refusal, Unreachable
from finemem_pipeline.cluster.diagnosis import CONTAINERS, pod_end, terminated
from finemem_pipeline.cluster.kinds import POD
from finemem_pipeline.cluster.seam import Handle, Manifest

SILENCE_SECONDS = 300.0
"""A stream without a line for so long is opened anew: it may be dead."""
PAUSE_SECONDS = 0.5


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
    pods: Callable[[], list[Manifest]],
    over: Callable[[], bool],
    ranks: Collection[int],
    leave: threading.Event,
) -> Iterator[tuple[int, str]]:
    """Lines as they come, until the job is over and everything is read, or `leave` is set."""
    lines: queue.Queue[tuple[int, str] | None] = queue.Queue(maxsize=10_000)
    threads = [
        threading.Thread(
            target=_follow_rank,
            args=(api, rank, pods, over, leave, lines),
            name=f"logs-{handle.name}-{rank}",
            daemon=True,
        )
        for rank in ranks
    ]
    for thread in threads:
        thread.start()
    open_ranks = len(threads)
    while open_ranks and not leave.is_set():
        try:
            found = lines.get(timeout=PAUSE_SECONDS)
        except queue.Empty:
            continue
        if found is None:
            open_ranks -= 1
        else:
            yield found


def _follow_rank(
    api: Api,
    rank: int,
    pods: Callable[[], list[Manifest]],
    over: Callable[[], bool],
    leave: threading.Event,
    lines: queue.Queue[tuple[int, str] | None],
) -> None:
    done: set[str] = set()
    cursors: dict[str, Cursor] = {}
    while not leave.is_set():
        finished = over()  # asked before the pods are: those of a job that is over do not change any more
        waiting = [pod for pod in of(pods(), rank) if pod["metadata"]["uid"] not in done]
        for pod in waiting:
            uid = pod["metadata"]["uid"]
            ended = bool(terminated(pod))
            try:
                _stream(api, pod, cursors.setdefault(uid, Cursor()), rank, lines, leave)
            except Unreachable:
                continue  # from where the last line stood
            except Refusal as refusal:
                if refusal.code == 404:
                    done.add(uid)
                continue
            if ended:
                done.add(uid)
        if finished and not [pod for pod in waiting if pod["metadata"]["uid"] not in done and terminated(pod)]:
            break
        leave.wait(PAUSE_SECONDS)
    lines.put(None)


def _stream(
    api: Api,
    pod: Manifest,
    cursor: Cursor,
    rank: int,
    lines: queue.Queue[tuple[int, str] | None],
    leave: threading.Event,
) -> None:
    query = {"container": container_of(pod), "follow": "true", "timestamps": "true"}
    if cursor.since:
        query["sinceTime"] = cursor.since
    path = POD.path(pod["metadata"]["namespace"], pod["metadata"]["name"], "log")
    for raw in api.lines(path, query, silence=SILENCE_SECONDS):
        if leave.is_set():
            return
        stamp, _, text = raw.decode(errors="replace").partition(" ")
        if cursor.new(stamp, text):
            lines.put((rank, text))


class Cursor:
    """How far one log was read. The server can only be asked for whole seconds, so lines come twice."""

    def __init__(self) -> None:
        self.since = ""
        self._last: tuple[str, int] = ("", 0)
        self._texts: set[str] = set()

    def new(self, stamp: str, text: str) -> bool:
        """Whether the line was not seen before; it is from now on."""
        moment = _moment(stamp)
        if moment < self._last or (moment == self._last and text in self._texts):
            return False
        if moment > self._last:
            self._texts.clear()
        self._last, self.since = moment, stamp
        self._texts.add(text)
        return True


def _moment(stamp: str) -> tuple[str, int]:
    """(to the second, nanoseconds): the fraction is written with as many digits as it needs."""
    whole, _, rest = stamp.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return whole[:19], int((digits or "0").ljust(9, "0"))
