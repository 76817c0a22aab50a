"""The scripted teacher of the warm start: it knows the questions and writes down what they will ask.

It is an oracle over training streams: from the evidence and the references of the questions it finds the sentences
of a chunk that hold an answer. It serves as the source of demonstrations; as a manager in a table it would cheat.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.sentences import sentences
from finemem_pipeline.memory import Insert, MemoryItem, Operation, Skip, Update, format_operations
from finemem_pipeline.reasoning.labels import asks_for_label
from finemem_pipeline.rollouts import Completion

_WORD = re.compile(r"\w+")
_NAME = re.compile(r"\b[A-Z]\w+")


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.lower()))


def _overlap(a: Counter[str], b: Counter[str]) -> int:
    return (a & b).total()


class Teacher:
    """Stores the sentences that answer a question, at most `per_chunk` of them; updates what became stale.

    A question is answered by the sentence of its evidence chunk that contains a reference (or the label of a quoted
    example) and shares the most words with it. Where a question names a stale chunk, the item written at that step
    which resembles the new sentence most is updated instead of a second one being inserted. A question about the
    whole stream (keywords, no evidence) asks for the sentences with the most keywords.

    `fits` tells whether a reply is short enough to be written; what matters least is left out until it is.
    """

    def __init__(self, per_chunk: int = 8, fits: Callable[[str], bool] = lambda reply: True) -> None:
        self.per_chunk = per_chunk
        self.fits = fits

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        return [Turn(Completion(format_operations(self.operations(each)))) for each in observations]

    def operations(self, observation: Observation) -> list[Operation]:
        """What to do with the chunk, in the order of its sentences."""
        here = observation.chunk.index
        pieces = sentences(observation.chunk.text)
        bags = [_words(piece) for piece in pieces]
        wanted: dict[int, Question] = {}
        for question in (*_about(observation.episode, here), *observation.chunk.questions):
            for place in _holders(question, pieces, bags):
                if len(wanted) < self.per_chunk and (place not in wanted or question.stale):
                    wanted[place] = question
        operations = self._write(observation, pieces, wanted)
        while wanted and not self.fits(format_operations(operations)):
            wanted.popitem()  # the last one found
            operations = self._write(observation, pieces, wanted)
        return operations

    def _write(self, observation: Observation, pieces: list[str], wanted: dict[int, Question]) -> list[Operation]:
        operations: list[Operation] = []
        replaced: set[str] = set()
        for place in sorted(wanted):
            stale = _stale_item(wanted[place], observation, pieces[place], replaced)
            if stale:
                replaced.add(stale)
                operations.append(Update(stale, pieces[place]))
            elif all(item.text != pieces[place] for item in observation.bank.items):
                operations.append(Insert(pieces[place]))
        return operations or [Skip()]


def _about(episode: Episode, step: int) -> Iterable[Question]:
    """Final questions whose evidence includes the chunk, those that correct something first; then the open ones."""
    direct = [question for question in episode.questions if step in question.evidence]
    yield from sorted(direct, key=lambda question: not question.stale)
    yield from (question for question in episode.questions if not question.evidence)


def _holders(question: Question, pieces: list[str], bags: list[Counter[str]]) -> list[int]:
    """Places of the sentences that answer the question, best first."""
    asked = _words(question.text)
    if question.metric == "keyword_recall":
        lowered = [piece.lower() for piece in pieces]
        hits = [sum(keyword.lower() in piece for keyword in question.keywords) for piece in lowered]
        return [i for i in sorted(range(len(pieces)), key=lambda i: -hits[i])[:2] if hits[i]]
    if asks_for_label(question.text):
        labels = set(question.answers)
        fitting = [i for i, piece in enumerate(pieces) if _label(piece) in labels]
    else:
        spellings = [part.strip() for answer in question.answers for part in _parts(question, answer)]
        fitting = [i for i, piece in enumerate(pieces) if _mentions(piece, spellings)]
    fitting.sort(key=lambda i: (-_overlap(asked, bags[i]), i))
    return fitting[:1]


def _parts(question: Question, answer: str) -> list[str]:
    """The texts any of which shows that a sentence holds the answer: PerLTQA lists keywords behind each other."""
    return answer.split(";") if question.metric == "perltqa" else [answer]


def _label(piece: str) -> str | None:
    _, newline, last = piece.rpartition("\n")
    return last.partition(":")[2].strip() if newline else None


def _mentions(piece: str, answers: Sequence[str]) -> bool:
    lowered = piece.lower()
    return any(answer.lower() in lowered for answer in answers if answer)


def _stale_item(question: Question, observation: Observation, new: str, replaced: set[str]) -> str | None:
    """The id of the item that the question's stale chunk left behind: the one that shares most with what replaces it.

    It must name the same person or thing (share a capitalised word with the question or the new sentence), and hold
    no answer to another final question about that chunk.
    """
    names = set(_NAME.findall(question.text)) | set(_NAME.findall(new))
    words = _words(f"{question.text} {new}")
    candidates = [
        (_overlap(_words(item.text), words), item.id)
        for item in observation.bank.items
        if item.writes[-1] in question.stale
        and item.id not in replaced
        and names & set(_NAME.findall(item.text))
        and not _still_asked(observation.episode, item)
    ]
    return max(candidates, default=(0, None), key=lambda candidate: candidate[0])[1]


def _still_asked(episode: Episode, item: MemoryItem) -> bool:
    return any(
        item.writes[-1] in question.evidence and _mentions(item.text, question.answers)
        for question in episode.questions
    )
