"""Collapses that this kind of training is known for: how the metrics of an update show them, and what helps.

One bad update is no collapse. An episode begins with the `patience`-th update in a row that shows it, and ends with as
many in a row that do not; so it is told once, however long it lasts. docs/how-to/watch-training.md has the thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
"""The metrics of one update by name; None or missing where there was nothing to average."""

COLUMN = "alarm/"

SKIPS, ANSWERED = 0.9, 0.5
COPIED = 0.75
MALFORMED = 0.5
ENTROPY = 0.02  # nats
STEERS = 0.9
DEAD = 0.9


@dataclass(frozen=True, slots=True)
class Alarm:
    """One way to collapse."""

    shows: Callable[[Row, Collection[str]], bool | None]
    """(update, terms that the reward variant pays) -> whether the update shows it; None: it cannot tell."""
    finding: Callable[[Row], str]
    """What the update shows, in words."""
    advice: str
    patience: int = 3

    def message(self, row: Row) -> str:
        return f"{self.finding(row)}. {self.advice}"


def _skips(row: Row) -> float | None:
    kinds = [row.get(f"operations/{kind}") or 0.0 for kind in ("insert", "update", "delete", "skip")]
    return kinds[-1] / sum(kinds) if sum(kinds) else None


def _always_skips(row: Row, terms: Collection[str]) -> bool | None:
    """A manager that skips and answers nevertheless has been shown streams that are mostly chatter."""
    skips = _skips(row)
    return None if skips is None else skips >= SKIPS and (row.get("outcome") or 0.0) < ANSWERED


def _copied(row: Row) -> float | None:
    """Of what was read: the part that went into the memory, or that stands there in the end, whichever is more."""
    found = [row[name] for name in ("memory/copied_share", "memory/share_of_text") if row.get(name) is not None]
    return max(found, default=None)


def _at_least(value: float | None, threshold: float) -> bool | None:
    return None if value is None else value >= threshold


def _strongest(row: Row) -> tuple[str, float] | None:
    """The term with the largest share of the variance, but for the outcome: that one is what is wanted."""
    shares = {
        name.removeprefix("share/"): share
        for name, share in row.items()
        if name.startswith("share/") and name != "share/outcome" and share is not None
    }
    return max(shares.items(), key=lambda term: term[1], default=None)


def _one_term_steers(row: Row, terms: Collection[str]) -> bool | None:
    strongest = _strongest(row)
    return None if strongest is None or len(terms) < 2 else strongest[1] >= STEERS


def _told_of_strongest(row: Row) -> str:
    term, share = _strongest(row) or ("none", 0.0)
    return f"'{term}' has {share:.0%} of the reward's variance among siblings"


def _nobody_is_scored(row: Row) -> bool:
    return row.get("outcome") is None and row.get("chunk_accuracy") is None


def _all_are_dead(row: Row, terms: Collection[str]) -> bool | None:
    columns = row.get("groups/columns")
    if not columns or _nobody_is_scored(row):
        return None
    return (row.get("groups/dead_columns") or 0.0) >= DEAD * columns


ALARMS: dict[str, Alarm] = {
    "always_skips": Alarm(
        _always_skips,
        lambda row: f"{_skips(row) or 0.0:.0%} of the operations are SKIP",
        "Nothing is kept, so nothing can be answered: lower the weight of compression, look whether the chunk "
        "questions can be answered from their chunks, or give the warm start more steps.",
    ),
    "copies_everything": Alarm(
        lambda row, terms: _at_least(_copied(row), COPIED),
        lambda row: f"{_copied(row) or 0.0:.0%} of what is read is copied into the memory",
        "No reward speaks against it: raise the weight of compression or pay for step_compression, until its share is "
        "more than a few hundredths, or credit cited evidence instead of all that was retrieved.",
    ),
    "malformed_output": Alarm(
        lambda row, terms: _at_least(row.get("operations/malformed_share"), MALFORMED),
        lambda row: f"{row.get('operations/malformed_share') or 0.0:.0%} of what is written is no operation",
        "Give the warm start more steps, and raise max_completion_tokens if completion/cut_share is high; if it came "
        "during training, lower the learning rate.",
    ),
    "entropy_gone": Alarm(
        lambda row, terms: None if row.get("entropy") is None else row["entropy"] < ENTROPY,
        lambda row: f"the entropy of the next token has fallen to {row.get('entropy') or 0.0:.3f} nats",
        "Siblings say the same and have nothing to be compared by: go back to an earlier checkpoint with a lower "
        "learning rate, a higher temperature, or training.kl above 0; fewer steps of warm start leave more of it.",
    ),
    "one_term_steers": Alarm(
        _one_term_steers,
        _told_of_strongest,
        "The others have no say: lower its weight, scale the spread of the outcome by T, or take an advantage that "
        "normalises each term by itself. While the format is being learned this is usual for some updates.",
    ),
    "all_dead": Alarm(
        _all_are_dead,
        lambda row: (
            f"in {row.get('groups/dead_columns') or 0:.0f} of {row.get('groups/columns') or 0:.0f} groups all siblings "
            "earned the same"
        ),
        "These updates teach nothing: raise group_size or temperature, ask more questions (question_share), or choose "
        "streams that are neither too easy nor too hard.",
    ),
    "nobody_scored": Alarm(
        lambda row, terms: _nobody_is_scored(row),
        lambda row: "no question of this update has a score",
        "Look whether the reader and the judge can be reached, and whether the streams have questions at all: without "
        "scores the outcome and the chunk questions teach nothing.",
        patience=1,
    ),
}


class Watch:
    """Goes through the updates of a run in their order, and knows which collapses are going on."""

    def __init__(self, terms: Collection[str]) -> None:
        """`terms` are those that the reward variant gives a weight."""
        self.terms = terms
        self.ringing: set[str] = set()
        self._streaks = dict.fromkeys(ALARMS, 0)

    def see(self, row: Row) -> list[str]:
        """The names of the collapses that begin with this update."""
        begun = []
        for name, alarm in ALARMS.items():
            seen = alarm.shows(row, self.terms)
            if seen is None:
                continue
            changed = seen != (name in self.ringing)
            self._streaks[name] = self._streaks[name] + 1 if changed else 0
            if self._streaks[name] < alarm.patience:
                continue
            self._streaks[name] = 0
            self.ringing ^= {name}
            if seen:
                begun.append(name)
        return begun

    @property
    def columns(self) -> dict[str, float]:
        """For the row of metrics: 1 while the collapse lasts, else 0."""
        return {f"{COLUMN}{name}": float(name in self.ringing) for name in ALARMS}


def apart(metrics: Row) -> tuple[str, Row]:
    """Where a training stands among several that one run reports (progress.under), "" if it is the only one; and its
    metrics by their own names.
    """
    place = next((name.partition(COLUMN)[0] for name in metrics if COLUMN in name), "")
    return place, {name.removeprefix(place): value for name, value in metrics.items()}


class Episodes:
    """For who hears the metrics of a training: when its collapses began."""

    def __init__(self) -> None:
        self.begun: dict[str, list[int]] = {}
        """Updates by the name of the collapse, the first first."""
        self.ringing: set[str] = set()

    def hear(self, step: int, metrics: Row) -> list[str]:
        """The names of the collapses that begin with this update."""
        ringing = {name for name in ALARMS if metrics.get(f"{COLUMN}{name}", name in self.ringing)}
        begun = sorted(ringing - self.ringing)
        for name in begun:
            self.begun.setdefault(name, []).append(step)
        self.ringing = ringing
        return begun
