"""Retriever, reasoner and scorer in one: questions and memories in, scored answers out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from finemem_pipeline.episodes import Question
from finemem_pipeline.memory import MemoryBank, MemoryItem
from finemem_pipeline.metrics import JUDGE, said, score
from finemem_pipeline.reasoning import Asked, Reasoner, ReasonerError, Reply
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.judge import Judge, Judged, Verdict, cached_verdicts, cases_of, together
from finemem_pipeline.reasoning.labels import searched
from finemem_pipeline.retrieval import Retriever
from finemem_pipeline.rollouts import Answer

Retrieved = list[tuple[MemoryItem, float]]
_Marks = dict[tuple[int, str], float]
"""Scores by id() of the question and prediction: siblings often come to the same one. For one batch only."""

NO_JUDGE = "only a judge can score it, and this reader has none (reader.judge)"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reader has done so far. questions = hits + misses; calls ≤ misses, as equal questions are asked once."""

    questions: int = 0
    calls: int = 0  # questions really sent to the reasoner
    hits: int = 0  # questions answered from the cache
    misses: int = 0  # questions that were not in the cache
    unscored: int = 0  # questions left without a score
    judged: int = 0  # cases really sent to the judge: one per reply, or per key point of a summary

    def since(self, earlier: Usage) -> Usage:
        """What was done after `earlier`."""
        return Usage(**{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)})


class Reader:
    """Answers questions from memories, and scores the answers.

    A reply or a verdict that failed leaves its question unscored (score None, with the failure told), never 0; if more
    than `max_unscored_share` of a batch is left unscored, ReasonerError is raised. Questions with the metric "judge"
    are scored by `judge`; without one they are left unscored, are counted, and stop nothing.
    """

    def __init__(
        self,
        retriever: Retriever,
        reasoner: Reasoner,
        k: int = 2,
        cache: AnswerCache | None = None,
        max_unscored_share: float = 0.1,
        judge: Judge | None = None,
    ) -> None:
        self.retriever = retriever
        self.reasoner = reasoner
        self.k = k
        self.cache = cache
        self.max_unscored_share = max_unscored_share
        self.judge = judge
        self.usage = Usage()
        self._told = False  # that a judge is missing

    def but(
        self,
        *,
        retriever: Retriever | None = None,
        reasoner: Reasoner | None = None,
        k: int | None = None,
        cache: AnswerCache | None = None,
    ) -> Reader:
        """The same reader with other parts, which has been asked nothing yet."""
        return Reader(
            retriever or self.retriever,
            reasoner or self.reasoner,
            k=self.k if k is None else k,
            cache=self.cache if cache is None else cache,
            max_unscored_share=self.max_unscored_share,
            judge=self.judge,
        )

    def answer(self, pairs: Sequence[tuple[Question, MemoryBank]]) -> list[Answer]:
        """One answer per (question, memory), in order: one call of the retriever, one of the reasoner, at most one of
        the judge.

        Raises ReasonerError if the reasoner or the judge fails, or leaves too much unscored.
        """
        found = self.retrieve(pairs)
        return self.read([(question, items) for (question, _), items in zip(pairs, found, strict=True)])

    def read(self, parts: Sequence[tuple[Question, Retrieved]]) -> list[Answer]:
        """One answer per (question, items to answer it from), in order. Raises as `answer` does."""
        numbers: dict[tuple[str, tuple[str, ...]], int] = {}  # of the different questions, as they come
        which = [
            numbers.setdefault((question.text, tuple([item.text for item, _ in found])), len(numbers))
            for question, found in parts
        ]
        known = self._replies([Asked(text, texts) for text, texts in numbers], which)
        replies = [known[number] for number in which]
        cases = [_cases(question, reply) for (question, _), reply in zip(parts, replies, strict=True)]
        verdicts = self._verdicts([case for some in cases for case in some])
        marks: _Marks = {}
        answers = [
            _answer(question, found, reply, [verdicts[case] for case in some], marks)
            for (question, found), reply, some in zip(parts, replies, cases, strict=True)
        ]
        self._count_unscored(answers)
        return answers

    def retrieve(self, pairs: Sequence[tuple[Question, MemoryBank]]) -> list[Retrieved]:
        """What each question brings back from its memory, best first, with the retriever's scores (len(pairs),)."""
        places: dict[int, list[int]] = {}
        for i, (_, bank) in enumerate(pairs):
            places.setdefault(id(bank), []).append(i)
        queries = {text: searched(text) for text in {question.text for question, _ in pairs}}
        evidence: list[Retrieved] = [[] for _ in pairs]
        groups = [group for group in places.values() if pairs[group[0]][1].items]
        asked = [([queries[pairs[i][0].text] for i in group], pairs[group[0]][1].items) for group in groups]
        for group, found in zip(groups, self.retriever.search_each(asked, self.k), strict=True):
            for i, items in zip(group, found, strict=True):
                evidence[i] = items
        return evidence

    def _replies(self, asked: Sequence[Asked], which: Sequence[int]) -> Mapping[int, Reply]:
        """The replies to different questions, by number. `which` has the number once for each time one is asked."""
        replies: dict[int, Reply] = {}
        keys: list[bytes] = []
        if self.cache is not None:
            identity = self.reasoner.identity
            keys = [self.cache.key(identity, one) for one in asked]
            known = self.cache.get(keys)
            replies = {number: known[key] for number, key in enumerate(keys) if key in known}
        hits = sum(map(replies.__contains__, which))
        missing = [number for number in range(len(asked)) if number not in replies]
        if missing:
            fresh = self.reasoner.answer([asked[number] for number in missing])
            replies.update(zip(missing, fresh, strict=True))
            if self.cache is not None:
                self.cache.put({keys[number]: replies[number] for number in missing})
        self.usage = replace(
            self.usage,
            questions=self.usage.questions + len(which),
            calls=self.usage.calls + len(missing),
            hits=self.usage.hits + hits,
            misses=self.usage.misses + len(which) - hits,
        )
        return replies

    def _verdicts(self, cases: Sequence[Judged]) -> Mapping[Judged, Verdict]:
        if self.judge is None:
            if cases and not self._told:
                self._told = True
                _log.warning("Some questions can only be scored by a judge; they stay unscored without reader.judge.")
            return dict.fromkeys(cases, Verdict(None, NO_JUDGE))
        found, calls = cached_verdicts(self.judge, cases, self.cache)
        self.usage = replace(self.usage, judged=self.usage.judged + calls)
        return found

    def _count_unscored(self, answers: Sequence[Answer]) -> None:
        unscored = [answer for answer in answers if answer.score is None]
        self.usage = replace(self.usage, unscored=self.usage.unscored + len(unscored))
        failed = [answer for answer in unscored if answer.failure != NO_JUDGE]
        tried = len(answers) - len(unscored) + len(failed)
        if len(failed) > self.max_unscored_share * tried:
            raise ReasonerError(
                f"{self.reasoner.identity}: {len(failed)} of {tried} questions could not be scored, allowed are "
                f"{self.max_unscored_share:.0%}. The first is {failed[0].question_id}: {failed[0].failure}."
            )


def _cases(question: Question, reply: Reply) -> tuple[Judged, ...]:
    """What to ask the judge; nothing where a rule scores, or there is nothing to score."""
    if question.metric != JUDGE or reply.failure is not None:
        return ()
    return cases_of(question, said(reply.text))


def _answer(question: Question, found: Retrieved, reply: Reply, verdicts: Sequence[Verdict], marks: _Marks) -> Answer:
    items, values = tuple([item for item, _ in found]), tuple([value for _, value in found])
    if reply.failure is not None:
        return Answer(question.id, "", items, values, failure=reply.failure)
    cited = tuple([items[place].id for place in reply.cited])
    if verdicts:
        verdict = together(verdicts)
        return Answer(question.id, reply.text, items, values, cited, verdict.score, verdict.failure)
    same = id(question), reply.text
    if same not in marks:
        marks[same] = score(reply.text, question)
    return Answer(question.id, reply.text, items, values, cited, marks[same])
