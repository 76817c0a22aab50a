"""What a training run tells while it runs: whoever cares subscribes, whoever trains reports.

Within one process. A subscriber that fails is logged once and left out from then on; it never stops the training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Subscriber = Callable[[int, Mapping[str, float]], None]
"""Called with the optimiser step and its metrics by name."""

_log = logging.getLogger(__name__)
_subscribers: list[Subscriber] = []
_place: list[str] = []  # names that metrics stand under, outermost first


def report(step: int, metrics: Mapping[str, float]) -> None:
    """Hands the metrics of one optimiser step to every subscriber, in the order in which they subscribed."""
    told = {"/".join((*_place, name)): value for name, value in metrics.items()}
    for subscriber in tuple(_subscribers):
        try:
            subscriber(step, told)
        except Exception:
            _log.exception("A listener to the training metrics failed at step %d; it gets no more of them.", step)
            _remove(subscriber)


def subscribe(callback: Subscriber) -> Callable[[], None]:
    """From now on `callback` gets every report. Returns the function that ends this; calling it twice is harmless."""
    _subscribers.append(callback)
    return lambda: _remove(callback)


@contextmanager
def under(name: str) -> Iterator[None]:
    """What is reported within stands under that name: two trainings of one run are told apart."""
    _place.append(name)
    try:
        yield
    finally:
        _place.pop()


def _remove(subscriber: Subscriber) -> None:
    if subscriber in _subscribers:
        _subscribers.remove(subscriber)
