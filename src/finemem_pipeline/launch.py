"""torch's launcher, with exit codes that tell whether to give the command again.

    python -m finemem_pipeline.launch --nproc-per-node=2 -m kedro run --pipelines=train

takes the options of `torch.distributed.run` and starts the same processes. It differs at the end:
- whatever stops all processes in order (stopping.RESUME_EXIT_CODE) ends the launcher with that code too, SIGTERM to the
  launcher included; any other end of a process is told by that process, not by a second traceback;
- a process that was asked to stop has the time it needs for its checkpoint: whoever stops the launcher sets the limit;
- machines that did not meet in time are no fault of the command: that too ends with RESUME_EXIT_CODE.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from finemem_pipeline.stopping import RESUME_EXIT_CODE

_LONG = 7 * 24 * 3600  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """The code to exit with."""
    from torch.distributed import DistError, run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # They tell of a process that ended what it has told itself.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    asked = run.parse_args(list(sys.argv[1:] if arguments is None else arguments))
    if asked.shutdown_timeout is None:
        asked.shutdown_timeout = _LONG
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        run.run(asked)
    except SignalException as stopped:
        return RESUME_EXIT_CODE if stopped.sigval == signal.SIGTERM else 128 + stopped.sigval
    except DistError as missing:
        print(f"Not all machines came together: {str(missing).splitlines()[0]}", file=sys.stderr)  # noqa: T201
        return RESUME_EXIT_CODE
    except ChildFailedError as failed:
        _, first = failed.get_first_failure()
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    return 0


def again(processes: int, folder: Path) -> int:
    """Starts the command at work as so many processes on this machine, in that folder. Returns its exit code."""
    program = Path(sys.argv[0])
    module = program.parent.name if program.name == "__main__.py" else "kedro"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    with contextlib.chdir(folder):
        return main(["--standalone", f"--nproc-per-node={processes}", "-m", module, *sys.argv[1:]])


if __name__ == "__main__":
    raise SystemExit(main())
