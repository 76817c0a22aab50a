"""What an evaluation would cost, in lines: the document of `evaluation.estimate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def estimate_lines(estimate: Mapping[str, Any]) -> list[str]:
    """One line each for what is played, calls, tokens, hours and money."""
    managers, total = estimate["managers"], estimate["total"]
    slowest = max(managers, key=lambda entry: float(entry["hours"]))
    money = total["money"]
    return [
        f"streams: {estimate['streams']:,} with {estimate['steps']:,} chunks, {_short(estimate['tokens'])} tokens and "
        f"{estimate['questions']:,} questions; {len(managers)} managers, {sum(e['passes'] for e in managers)} passes",
        f"manager calls: {total['manager_calls']:,.0f}",
        f"reader calls: {total['reader_calls']:,.0f} at most; equal questions about equal texts are asked once",
        f"tokens: {_short(total['tokens_in'])} in, {_short(total['tokens_out'])} out",
        f"hours: {total['hours']:.2f}, of which {slowest['manager']} {slowest['hours']:.2f}",
        "money: not known, evaluation.rates has no prices" if money is None else f"money: {money:,.2f}",
    ]


def _short(tokens: float) -> str:
    """950, 12k, 3.4M"""
    if tokens < 10_000:
        return f"{tokens:.0f}"
    return f"{tokens / 1e3:.0f}k" if tokens < 1e6 else f"{tokens / 1e6:.1f}M"
