"""The launcher's exit codes are those of what it launches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from finemem_pipeline.stopping import RESUME_EXIT_CODE

LAUNCH = [sys.executable, "-m", "finemem_pipeline.launch", "--standalone", "--nproc-per-node=2"]

SCRIPT = """
import os, signal, sys, time
def stop(*_):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
rank = int(os.environ["RANK"])
if sys.argv[1] == "wait":
    print("ready", flush=True)
    time.sleep(600)
elif rank == 1:
    time.sleep(0.5)
    print("the second one ends", file=sys.stderr, flush=True)
    sys.exit(int(sys.argv[1]))
else:
    time.sleep(600 if sys.argv[1] != "0" else 0)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("code", [0, 1, RESUME_EXIT_CODE])
def test_it_ends_as_the_first_process_that_ends_and_adds_no_word(script, code):
    done = subprocess.run([*LAUNCH, str(script), str(code)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code
    assert done.stderr == "the second one ends\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, RESUME_EXIT_CODE), (signal.SIGINT, 130)])
def test_a_signal_goes_to_all_and_is_told_by_the_exit_code(script, number, code):
    launcher = subprocess.Popen(
        [*LAUNCH, str(script), "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert [launcher.stdout.readline(), launcher.stdout.readline()] == ["ready\n"] * 2
        os.kill(launcher.pid, number)
        output, errors = launcher.communicate(timeout=300)
    finally:
        launcher.kill()
    assert (launcher.returncode, output.split()) == (code, ["saved", "saved"])
    assert "Traceback" not in errors
