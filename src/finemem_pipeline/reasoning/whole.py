"""A reasoner that reads its texts as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finemem_pipeline.reasoning import Asked, Reasoner, Reply


class WholeText:
    """Shows another reasoner all texts of a question as a single one, in their order.

    For a memory that is a stretch of the stream: its pieces are not ranked, and a reasoner that trusts the first text
    most would read its old end only. No text is cited, as the whole cannot tell which.
    """

    def __init__(self, reasoner: Reasoner) -> None:
        self.reasoner = reasoner

    @property
    def identity(self) -> str:
        return f"whole text: {self.reasoner.identity}"

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        joined = [Asked(one.question, ("\n".join(one.texts),) if one.texts else ()) for one in asked]
        return [replace(reply, cited=()) for reply in self.reasoner.answer(joined)]
