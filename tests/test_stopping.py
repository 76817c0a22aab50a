from __future__ import annotations

import os
import signal
import threading

import pytest

from finemem_pipeline import stopping
from finemem_pipeline.stopping import RESUME_EXIT_CODE, Stopped, orderly


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_what_is_at_work_with_the_resume_code():
    with pytest.raises(Stopped) as stopped, orderly():
        terminate()
    assert stopped.value.code == RESUME_EXIT_CODE == 75


def test_sigterm_waits_while_it_is_held():
    with orderly():
        stopping.hold()
        terminate()
        assert (stopping.held(), stopping.asked()) == (True, True)
        with pytest.raises(Stopped):
            stopping.release()


def test_nothing_comes_of_a_hold_without_a_signal():
    with orderly():
        stopping.hold()
        stopping.release()
        assert (stopping.held(), stopping.asked()) == (False, False)


def test_a_second_sigterm_does_not_disturb_what_the_first_one_began():
    done = []
    with orderly():
        try:
            terminate()
        except Stopped:
            terminate()
            done.append("saved")
    assert done == ["saved"]


def test_afterwards_the_signal_is_what_it_was_before():
    with orderly():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not stopping.asked()


def test_somebody_who_handles_the_signal_already_goes_on_to_do_so():
    told = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    try:
        with orderly():
            terminate()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]


def test_another_thread_leaves_the_signal_alone():
    seen = []

    def work() -> None:
        with orderly():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
