"""The processes that train together: who they are, how they come to a training, and how they agree.

torch's launcher starts the same command several times. The first process does what the command says; the others wait
(`Team.follow`) until it calls them to a piece of work (`Team.call`), with the arguments that it was given itself. So
nodes, data sets, MLflow and the terminal are the first one's alone, and what it has in memory needs no file between.

How a piece of work ends is everybody's business:
- what can fail or be stopped on one process alone is done `apart`, and shared: all go on, or all end at the same line;
- SIGTERM or Ctrl-C to one process comes to all within a second, and waits until the next line at which they agree;
- where one fails in the middle of common work, the others hear why and end too (`_Line.over`).
Only torch's own environment variables are read, and only here. Between pieces of work they are out of sight, so that
what the first process does alone, it does as a process that is alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import click

from finemem_pipeline import stopping
from finemem_pipeline.errors import FinememError

T = TypeVar("T")

_REQUIRED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_MORE = ("LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME")
_AT_MOST = timedelta(days=7)  # that one process waits for another: whether it still lives is looked after by `_Watch`
_TO_COME = timedelta(minutes=10)  # to the store, of which the launcher says that it is there
_LOOK_EVERY = 0.5  # seconds
_LAST_WORDS = 20.0  # seconds that a process has to end by itself once another has failed


class Team:
    """This process among those that were started with it."""

    def __init__(self, rank: int = 0, size: int = 1, node: int = 0, line: _Line | None = None) -> None:
        self.rank = rank
        self.size = size
        self.node = node  # the machine, counted from 0
        self._line = line
        self._agreed = False  # the error at work was raised by all
        self._tasks = 0

    @property
    def first(self) -> bool:
        """Whether it is the one that writes, prints and goes on afterwards."""
        return self.rank == 0

    def call(self, work: Callable[..., T], *args: Any) -> T:
        """Does `work` on all processes, with the arguments of the first, which calls. Returns its result."""
        if self._line is None:
            return work(*args)
        self._agreed = False
        stopping.hold()
        try:
            with self._line.in_sight():
                self._line.call((work, args))
                result = work(*args)
        except Exception as error:
            told = self._told(error)
            if told is error:
                raise
            raise told from error
        stopping.release()
        return result

    def follow(self) -> int:
        """Waits for calls of the first process and heeds them. Returns the code to exit with."""
        assert self._line is not None
        stopping.hold()
        logging.disable(logging.WARNING)  # one process tells what is going on
        while (ended := self._line.next_call()) is None:
            try:
                with self._line.in_sight():
                    work, args = self._line.heed()
                    work(*args)
            except (Exception, stopping.Stopped) as error:
                if not self._agreed:
                    self._fail(error)
            self._agreed = False
        return ended

    def from_first(self, work: Callable[[], T]) -> T:
        """What `work` gives on the first process, which alone does it. If it fails there, it fails everywhere."""
        if self._line is None:
            return work()
        result: Any = None
        error: FinememError | None = None
        if self.first:
            try:
                result = work()
            except FinememError as failed:
                error = failed
        told, result = self._line.from_first((None if error is None else str(error), result))
        if told is not None:
            self._all_raise(error or FinememError(told))
        shared: T = result
        return shared

    def apart(self, work: Callable[[], T]) -> list[T]:
        """Every process does work of its own; all get all results, in the order of ranks.

        Meanwhile they can be stopped at any line. Whoever fails or is stopped, all fail or are stopped.
        """
        if self._line is None:
            return [work()]
        task, self._tasks = self._tasks, self._tasks + 1
        done: list[T] = []
        error: BaseException | None = None
        try:
            try:
                stopping.release()
                done.append(work())
            finally:
                stopping.hold()
        except (FinememError, stopping.Stopped) as failed:
            error = failed
        except Exception as failed:
            traceback.print_exc()  # here alone it can be told where
            error = FinememError(_words(failed))
        if error is not None:
            self._line.put(f"given up/{task}")
        told = None if error is None else _Told(self.rank, _words(error), _code(error), isinstance(error, _GivenUp))
        everyone = self._line.everyone((told, done))
        failures = [told for told, _ in everyone if told is not None and not told.elsewhere]
        if failures:
            if any(each.code == stopping.RESUME_EXIT_CODE for each in failures):
                self._all_raise(stopping.Stopped())
            mine = error is not None and not isinstance(error, _GivenUp)
            self._all_raise(error if mine and error is not None else self._by(failures[0]))
        return [result for _, results in everyone for result in results]

    def check(self) -> None:
        """Called now and then in work that is done apart: ends it where it has become useless."""
        if self._line is not None and self._line.has(f"given up/{self._tasks - 1}"):
            raise _GivenUp("another process has given up")

    def any(self, mine: bool) -> bool:
        """Whether it is so on any process."""
        return bool(self.most(int(mine)))

    def most(self, mine: int) -> int:
        """The largest of the numbers of all processes."""
        return mine if self._line is None else self._line.most(mine)

    def stop_if_asked(self) -> None:
        """Raises Stopped on all processes if any was asked to stop."""
        if self._line is not None and self.any(stopping.asked()):
            self._all_raise(stopping.Stopped())

    def all_fail(self, error: FinememError) -> None:
        """Raises an error that all processes have come to together."""
        self._all_raise(error)

    def _all_raise(self, error: BaseException) -> None:
        self._agreed = True
        raise error

    def _told(self, error: Exception) -> Exception:
        """The error to end the first process with: another one's, if that is why this one failed."""
        assert self._line is not None
        if self._agreed:
            return error
        if not isinstance(error, FinememError) and (other := self._line.over(wait=3.0)) is not None:
            return self._by(other)
        self._line.end_all(_Told(self.rank, _words(error), _code(error)))
        return error

    def _fail(self, error: BaseException) -> NoReturn:
        """Ends a process that follows, in the middle of common work, and at once: others wait for its part."""
        assert self._line is not None
        if self._line.over(wait=3.0) is None:
            self._line.end_all(_Told(self.rank, _words(error), _code(error)))
            if not isinstance(error, FinememError):
                traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_code(error))

    def _by(self, told: _Told) -> FinememError:
        return FinememError(f"process {told.rank} of {self.size}: {told.words}")


ALONE = Team()
_team = ALONE


def team() -> Team:
    """The processes that this one works with now."""
    return _team


class _GivenUp(FinememError):
    """Work that was done apart has become useless."""


class _Told:
    """What a process says of its end."""

    def __init__(self, rank: int, words: str, code: int, elsewhere: bool = False) -> None:
        self.rank = rank
        self.words = words
        self.code = code
        self.elsewhere = elsewhere  # it ends because another one does


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return all(name in os.environ for name in _REQUIRED) and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def joined() -> Iterator[Team]:
    """Within it `team` gives the processes of the launcher; the first one's end is that of all."""
    global _team  # noqa: PLW0603
    if not launched():
        yield ALONE
        return
    theirs = [name for name in os.environ if name in _REQUIRED + _MORE or name.startswith("TORCHELASTIC_")]
    environment = {name: os.environ.pop(name) for name in theirs}
    line = _Line(environment)
    _team = Team(line.rank, line.size, int(environment.get("GROUP_RANK", 0)), line)
    _die_with_the_launcher()
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))  # the launcher passes Ctrl-C on as it is
    watch = _Watch(line, _team.first)
    code = 1
    try:
        yield _team
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        raise
    finally:
        _team = ALONE
        if line.rank == 0:
            line.end(code)
        watch.end()
        os.environ.update(environment)


class _Line:
    """How processes speak with each other: torch's store for single words, its groups for work in step."""

    def __init__(self, environment: dict[str, str]) -> None:
        from torch.distributed import PrefixStore, rendezvous

        self.rank = int(environment["RANK"])
        self.size = int(environment["WORLD_SIZE"])
        self._environment = environment
        with self.in_sight():
            found, _, _ = next(rendezvous("env://", timeout=_TO_COME))
        # A launcher that starts its processes anew keeps the store.
        self._store: Any = PrefixStore(f"finemem/{environment.get('TORCHELASTIC_RESTART_COUNT', 0)}", found)
        self._calls = 0
        self._group: Any = None

    @contextmanager
    def in_sight(self) -> Iterator[None]:
        """Libraries see that the process is one of several."""
        os.environ.update(self._environment)
        try:
            yield
        finally:
            for name in self._environment:
                os.environ.pop(name, None)

    def clone(self) -> Any:
        """The store by a connection of its own."""
        return self._store.clone()

    def put(self, word: str) -> None:
        self._store.set(word, "")

    def has(self, word: str) -> bool:
        return bool(self._store.check([word]))

    def call(self, work: object) -> None:
        self._store.set(f"call/{self._calls}", "")
        self._calls += 1
        self._meet()
        self.from_first(work)

    def heed(self) -> Any:
        self._meet()
        return self.from_first(None)

    def next_call(self) -> int | None:
        """Waits. None if the first process calls, else the code it has ended with; to try again if it is gone."""
        word = f"call/{self._calls}"
        try:
            while not self._store.check([word]):
                if self._store.check(["end"]):
                    return int(self._store.get("end"))
                time.sleep(_LOOK_EVERY)
        except RuntimeError:  # torch's errors of a store that is not there any more
            return stopping.RESUME_EXIT_CODE
        self._calls += 1
        return None

    def end(self, code: int) -> None:
        with contextlib.suppress(RuntimeError):
            self._store.set("end", str(code))

    def end_all(self, told: _Told) -> None:
        """The first who says so is believed."""
        with contextlib.suppress(RuntimeError):
            self._store.compare_set("over", "", json.dumps([told.rank, told.words, told.code]))

    def over(self, wait: float = 0.0) -> _Told | None:
        """Who has ended the common work, if another process has."""
        until = time.monotonic() + wait
        with contextlib.suppress(RuntimeError):
            while not self._store.check(["over"]):
                if time.monotonic() >= until:
                    return None
                time.sleep(0.1)
            told = _Told(*json.loads(self._store.get("over")))
            return told if told.rank != self.rank else None
        return None

    def _meet(self) -> None:
        """Groups are made at the first call: a command without a training needs none."""
        if self._group is not None:
            return
        import torch
        from torch import distributed

        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(self._environment["LOCAL_RANK"]))
        distributed.init_process_group(
            "nccl" if cuda else "gloo",
            store=distributed.PrefixStore("group", self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=_AT_MOST,
        )
        self._group = distributed.new_group(backend="gloo", timeout=_AT_MOST)

    def from_first(self, value: Any) -> Any:
        import torch
        from torch import distributed

        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self._group, device=torch.device("cpu"))
        return box[0]

    def everyone(self, value: Any) -> list[Any]:
        from torch import distributed

        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value, group=self._group)
        return found

    def most(self, value: int) -> int:
        import torch
        from torch import distributed

        number = torch.tensor(value)
        distributed.all_reduce(number, distributed.ReduceOp.MAX, group=self._group)
        return int(number)


class _Watch:
    """A thread that passes the signal to stop on to all processes, and ends one that hangs because another failed."""

    def __init__(self, line: _Line, first: bool) -> None:
        self._line = line
        self._first = first
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="together")
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        store, told = self._line.clone(), False
        try:
            while not self._ended.wait(_LOOK_EVERY):
                if stopping.asked() and not told:
                    store.set("stop", "")
                    told = True
                elif not told and store.check(["stop"]):
                    os.kill(os.getpid(), signal.SIGTERM)
                    told = True
                if store.check(["over"]):
                    rank, words, code = json.loads(store.get("over"))
                    if rank != self._line.rank and not self._ended.wait(_LAST_WORDS):
                        if self._first:
                            click.echo(f"Error: process {rank} of {self._line.size}: {words}", err=True)
                        os._exit(code)
        except RuntimeError:  # the store is gone, and with it the machine of the first process: no fault of this one
            if not self._ended.wait(_LAST_WORDS):
                os._exit(stopping.RESUME_EXIT_CODE)


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, FinememError) else f"{type(error).__name__}: {error}"


def _code(error: BaseException) -> int:
    return stopping.RESUME_EXIT_CODE if isinstance(error, stopping.Stopped) else 1


def _die_with_the_launcher() -> None:
    """Where the kernel can be asked for it (Linux): SIGTERM when the launcher is gone, however it ended."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_PR_SET_PDEATHSIG = 1  # of sys/prctl.h
