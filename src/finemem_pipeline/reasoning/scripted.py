"""A reasoner and a judge that say what they were told to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from finemem_pipeline.reasoning import Asked, ReasonerError, Reply
from finemem_pipeline.reasoning.judge import Judged, Verdict


class ScriptedReasoner:
    """Replies from a table of questions or from a function; `asked` keeps every question that came in, in order.

    Raises ReasonerError for a question that the table does not hold.
    """

    def __init__(self, replies: Mapping[str, Reply] | Callable[[Asked], Reply], identity: str = "scripted") -> None:
        self.identity = identity
        self.asked: list[Asked] = []
        self._replies = replies

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        self.asked += asked
        return [self._reply(one) for one in asked]

    def _reply(self, asked: Asked) -> Reply:
        if not isinstance(self._replies, Mapping):
            return self._replies(asked)
        if asked.question not in self._replies:
            raise ReasonerError(f"the script has no reply to the question '{asked.question}'")
        return self._replies[asked.question]


class ScriptedJudge:
    """Gives its verdicts by a function; `judged` keeps every case that came in, in order."""

    def __init__(self, verdict: Callable[[Judged], Verdict], identity: str = "scripted judge") -> None:
        self.identity = identity
        self.judged: list[Judged] = []
        self._verdict = verdict

    def judge(self, cases: Sequence[Judged]) -> list[Verdict]:
        self.judged += cases
        return [self._verdict(case) for case in cases]
