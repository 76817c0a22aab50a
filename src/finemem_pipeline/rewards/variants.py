"""A variant: which rewards, how heavy, and how the one score of a whole rollout is shared over its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from finemem_pipeline import credit
from finemem_pipeline.credit import ADVANTAGES, SCHEMES
from finemem_pipeline.errors import FinememError, unknown
from finemem_pipeline.rewards import table
from finemem_pipeline.rewards.table import PER_ROLLOUT, REWARDS


class VariantError(FinememError):
    """A reward variant says something that cannot be done."""


@dataclass(frozen=True, slots=True)
class Spread:
    """(1−β)·r/T + β·credit_t: how one float per rollout becomes (T,)."""

    scheme: str  # a name in credit.SCHEMES
    beta: float = 0.5  # the share that follows the scheme; the rest is even
    scale: Literal["T"] | None = None  # "T" multiplies by T: the mean over the steps is then r, however long the stream


@dataclass(frozen=True, slots=True)
class Term:
    """One reward of a variant."""

    weight: float
    spread: Spread | None = None  # None: a reward per rollout is the same at every step, undivided


@dataclass(frozen=True, slots=True)
class Variant:
    """r_t = Σ weight·term_t, over the rewards named in `terms`."""

    name: str
    terms: Mapping[str, Term]
    advantage: str = "same_step"  # a name in credit.ADVANTAGES

    @property
    def probes(self) -> tuple[str, ...]:
        """The further answers that its rewards and schemes read, by the names of reasoning.probes."""
        schemes = [term.spread.scheme for term in self.terms.values() if term.spread is not None]
        wanted = [credit.NEEDS.get(scheme) for scheme in schemes] + [table.NEEDS.get(name) for name in self.terms]
        return tuple(dict.fromkeys(name for name in wanted if name is not None))


def variant(name: str, mapping: Mapping[str, object]) -> Variant:
    """The variant that a mapping as in `parameters_rewards.yml` describes. Raises VariantError, naming the place."""
    where = f"rewards.{name}"
    terms: dict[str, Term] = {}
    fields = _fields(where, mapping)
    advantage = fields.pop("advantage", "same_step")
    if not isinstance(advantage, str) or advantage not in ADVANTAGES:
        raise VariantError(unknown(f"{where}.advantage", str(advantage), ADVANTAGES, "advantage"))
    for reward, value in fields.items():
        if reward not in REWARDS:
            raise VariantError(unknown(where, reward, REWARDS, "reward"))
        terms[reward] = _term(f"{where}.{reward}", reward, value)
    if not any(term.weight for term in terms.values()):
        raise VariantError(f"{where}: no reward has a weight above 0. Known: {', '.join(sorted(REWARDS))}.")
    return Variant(name, terms, advantage)


def _term(where: str, reward: str, value: object) -> Term:
    fields = _fields(where, value, "weight", "spread")
    weight = _number(where, fields, "weight", math.inf)
    if "spread" not in fields:
        return Term(weight)
    if reward not in PER_ROLLOUT:
        raise VariantError(f"{where}: '{reward}' has a value at every step, there is nothing to spread.")
    where = f"{where}.spread"
    fields = _fields(where, fields["spread"], "scheme", "beta", "scale")
    scheme = fields.get("scheme")
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise VariantError(unknown(f"{where}.scheme", str(scheme), SCHEMES, "scheme"))
    if scheme != "uniform" and reward != "outcome":
        raise VariantError(f"{where}: scheme '{scheme}' shares the scores of the answers, not '{reward}'. Use uniform.")
    spread = Spread(scheme)
    if "beta" in fields:
        spread = replace(spread, beta=_number(where, fields, "beta", 1.0))
    if "scale" in fields:
        if fields["scale"] != "T":
            raise VariantError(f"{where}.scale: found {fields['scale']!r}, allowed is T.")
        spread = replace(spread, scale="T")
    return Term(weight, spread)


def _fields(where: str, value: object, *known: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise VariantError(f"{where}: expected a mapping, found {value!r}.")
    for key in value:
        if known and key not in known:
            raise VariantError(unknown(where, str(key), known, "field"))
    return {str(key): content for key, content in value.items()}


def _number(where: str, fields: Mapping[str, object], name: str, most: float) -> float:
    value = fields.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most or math.isinf(value):
        allowed = "a number from 0 on" if math.isinf(most) else f"a number from 0 to {most:g}"
        raise VariantError(f"{where}.{name}: found {value!r}, allowed is {allowed}.")
    return float(value)
