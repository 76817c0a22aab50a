import logging

import pytest

from finemem_pipeline import progress
from finemem_pipeline.errors import FinememError


def test_every_subscriber_gets_every_report_until_it_leaves():
    first, second = [], []
    leave = progress.subscribe(lambda step, metrics: first.append((step, dict(metrics))))
    also_leave = progress.subscribe(lambda step, metrics: second.append(step))
    progress.report(1, {"loss": 0.5})
    leave()
    leave()
    progress.report(2, {"loss": 0.25})
    also_leave()
    progress.report(3, {})
    assert first == [(1, {"loss": 0.5})]
    assert second == [1, 2]


def test_a_failing_subscriber_is_logged_once_and_the_others_go_on(caplog):
    heard = []

    def broken(step, metrics):
        raise RuntimeError("no disk")

    leave = [progress.subscribe(broken), progress.subscribe(lambda step, metrics: heard.append(step))]
    with caplog.at_level(logging.ERROR, logger="finemem_pipeline.progress"):
        progress.report(1, {})
        progress.report(2, {})
    for unsubscribe in leave:
        unsubscribe()
    assert heard == [1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "A listener to the training metrics failed at step 1; it gets no more of them."
    ]


def test_one_may_leave_while_being_told():
    heard = []

    def once(step, metrics):
        heard.append(step)
        leave()

    leave = progress.subscribe(once)
    progress.report(1, {})
    progress.report(2, {})
    assert heard == [1]


def test_what_is_reported_under_a_name_is_told_apart_and_nothing_after_it():
    heard = []
    leave = progress.subscribe(lambda step, metrics: heard.append(dict(metrics)))
    with progress.under("big/seed_0"):
        progress.report(1, {"reward/total": 0.5})
        with pytest.raises(FinememError), progress.under("inner"):
            raise FinememError("stopped")
    progress.report(1, {"loss": 0.25})
    leave()
    assert heard == [{"big/seed_0/reward/total": 0.5}, {"loss": 0.25}]
