"""`python -m torch.distributed.run`, as it is used in a pod.

torchrun ends with 1 whatever its processes ended with, and the cluster could not tell "start me again" from a fault in
the code. This takes the same arguments and ends as the processes did: with the exit code of the first that failed,
128 + n for signal n, and RESUME_EXIT_CODE if the pod was asked to end. It also waits until the host name of node 0 is
known, which may take some seconds after a pod has started.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from finemem_pipeline.stopping import RESUME_EXIT_CODE

RESOLVE_SECONDS = 300.0


def main(arguments: Sequence[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    parsed = parse_args(list(arguments))
    if parsed.node_rank and not await_name(parsed.master_addr, RESOLVE_SECONDS):
        print(f"The host name {parsed.master_addr} of node 0 stayed unknown for {RESOLVE_SECONDS:.0f} s.", flush=True)  # noqa: T201
        return RESUME_EXIT_CODE
    try:
        run(parsed)
    except SignalException:
        return RESUME_EXIT_CODE
    except ChildFailedError as failed:
        print(failed, file=sys.stderr, flush=True)  # noqa: T201
        return exit_code(failed.failures)
    return 0


def exit_code(failures: dict[int, Any]) -> int:
    """Of the rank that failed first. One that only asks to be started again does not hide another's fault."""
    codes = [failure.exitcode for failure in sorted(failures.values(), key=lambda failure: failure.timestamp)]
    faults = [code for code in codes if code != RESUME_EXIT_CODE] or codes
    return faults[0] if faults[0] >= 0 else 128 - faults[0]


def await_name(host: str, seconds: float) -> bool:
    """Whether the name can be looked up before the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.getaddrinfo(host, None)
            return True
        except OSError:
            time.sleep(1.0)
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
