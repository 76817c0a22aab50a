"""A reasoner without a model: it quotes one sentence of what was retrieved.

Deterministic, offline and fast, so that a pipeline can be tried, tested and timed on any machine. It does not
understand: it weighs the words that a sentence shares with the question, prefers sentences that hold the kind
of thing asked for (a name, a number, a date), and, for questions after a class number, copies the number of the
most similar labelled example. It knows nothing that was not retrieved, so without a memory it scores 0.

    question   How far is Fresno from Los Angeles?
    texts      ["Fresno is about 220 miles from Los Angeles. It lies in the Central Valley.", …]
    reply      "Fresno is about 220 miles from Los Angeles."   cited (0,)

    question   Query: put on some jazz\nWhich class number does this query get? Answer with the number only.
    texts      ["Query: play jazz music\nClass: 22", "book me a taxi -> 10"]
    reply      "22"   cited (0,)
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from finemem_pipeline.reasoning import Asked, Reply, asking, labels
from finemem_pipeline.reasoning.labels import asks_for_label, item_of, labelled_examples

LONGEST_REPLY = 60
"""Words. A longer run without a full stop is cut into pieces, so that a memory gains nothing by leaving them out."""

# Weights beside the share of the question's words (0 to 1), set by hand on train and dev streams of squad, hotpotqa,
# mquake and locomo, and on planted ones. With a perfect memory none of them moves the squad score by more than 0.01.
KIND = 0.35  # the sentence holds the kind of thing asked for
RANK = 0.05  # per place that the retriever put the text after the first
PAIR = 0.025  # per two words that stand side by side in the question too
CORRECTED = 0.1  # the sentence says that something changed


class ExtractiveReasoner:
    """Replies with at most one sentence of the texts, yes or no, or one label number, and cites where it stands."""

    @property
    def identity(self) -> str:
        return f"extractive/{_VERSION}"

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        compare = lru_cache(maxsize=8192)(_compare)  # siblings' memories bring the same texts to a question
        return [
            _label(one)
            if asks_for_label(one.question)
            else _quote(replace(one, question=asking.bare(one.question)), compare)
            for one in asked
        ]


def sentences(text: str) -> list[str]:
    """The sentences of a text: lines, cut at full stops, cut into pieces of at most LONGEST_REPLY words."""
    return [piece for line in _LINES.split(text) for sentence in _cut(line) for piece in _pieces(sentence)]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A word without its endings, so that 'founded', 'founding' and 'founder' meet."""
    word = word.lower()
    word = _IRREGULAR.get(word, word)
    if len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith("s") and word[-2] not in "sui":
        word = word[:-1]
    ending = next((end for end in _ENDINGS if word.endswith(end) and len(word) - len(end) >= 3), "")
    word = word.removesuffix(ending)
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lse":
        word = word[:-1]
    return word.rstrip("e") if len(word) > 3 else word


def stems(text: str) -> tuple[str, ...]:
    """The stems of a text's words, in order."""
    return tuple(map(stem, _WORD.findall(text)))


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    words: tuple[str, ...]  # stems, in order
    stems: frozenset[str]
    kinds: dict[str, frozenset[str]]  # kind of thing -> stems of that kind
    correction: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    stems: frozenset[str]
    content: frozenset[str]  # the stems that say what it is about
    pairs: frozenset[tuple[str, str]]
    kind: str | None  # of thing asked for
    yes_no: bool


class _Compared(NamedTuple):
    """A sentence beside a question."""

    sentence: _Sentence
    shared: frozenset[str]  # stems of what the question is about
    pairs: int  # words that stand side by side in the question too, counted where anything is shared


_Compare = Callable[[str, str], list[_Compared]]


def _compare(question: str, text: str) -> list[_Compared]:
    """The sentences of a text."""
    wanted = _read_question(question)
    compared = []
    for sentence in _read_text(text):
        shared = wanted.content & sentence.stems
        pairs = sum(map(wanted.pairs.__contains__, pairwise(sentence.words))) if shared else 0
        compared.append(_Compared(sentence, shared, pairs))
    return compared


def _quote(asked: Asked, compare: _Compare) -> Reply:
    wanted = _read_question(asked.question)
    texts = [compare(asked.question, text) for text in asked.texts]
    weights = _weights(wanted.content, [one.shared for text in texts for one in text])
    total = math.fsum(weights.values())
    # fsum, here and below: a set's order changes from run to run, a rounded sum with it, and ties are common.
    weighed = [[(math.fsum([weights[root] for root in one.shared]), one) for one in text] for text in texts]
    known = wanted.stems | _bridges(weighed) if wanted.kind else wanted.stems
    best: tuple[float, int, _Sentence] | None = None
    for place, candidates in enumerate(weighed):
        for words, one in candidates:
            if words == 0.0:
                continue
            score = words / total + _fit(wanted, one, known) - RANK * place
            # Of equals in one text the later wins: it is the newer statement.
            if best is None or score > best[0] or (score == best[0] and place == best[1]):
                best = score, place, one.sentence
    if best is None:
        return Reply("")
    _, place, sentence = best
    if not wanted.yes_no:
        return Reply(sentence.text, (place,))
    there = frozenset().union(*(one.shared for text in texts for one in text))
    held = math.fsum(weights[root] for root in there) >= _HELD * total
    turned = bool(_NEGATION.search(sentence.text)) != bool(_NEGATION.search(asked.question))
    return Reply("yes" if held and not turned else "no", (place,))


def _bridges(weighed: Sequence[Sequence[tuple[float, _Compared]]]) -> frozenset[str]:
    """Names that the best sentences of two texts share: they link the two and are what neither was asked for.

    "Rafael owns a boat called Trident." and "The boat Trident is moored in Aldstead." for "Where is Rafael's boat?"
    """
    best = [max(candidates, key=itemgetter(0))[1].sentence for candidates in weighed if candidates]
    once: frozenset[str] = frozenset()
    again: frozenset[str] = frozenset()
    for sentence in best:
        again |= once & sentence.kinds["name"]
        once |= sentence.kinds["name"]
    return again


def _weights(stems: Collection[str], documents: Sequence[Collection[str]]) -> dict[str, float]:
    """ln(1 + (n + 1)/(df + ½)), as rare as each stem is among the documents, sets of nothing but these stems."""
    found = dict.fromkeys(stems, 0)
    for document in documents:
        for root in document:
            found[root] += 1
    return {root: math.log(1.0 + (len(documents) + 1.0) / (df + 0.5)) for root, df in found.items()}


def _fit(wanted: _Wanted, one: _Compared, known: frozenset[str]) -> float:
    """How well a sentence suits the question, apart from how many words they share. What is known answers nothing."""
    score = PAIR * one.pairs
    if wanted.kind is not None and one.sentence.kinds[wanted.kind] - known:
        score += KIND
    return score + CORRECTED if one.sentence.correction else score


def _label(asked: Asked) -> Reply:
    """The label of the example whose words overlap most with the item's (cosine, idf-weighted); the first of equals."""
    item = frozenset(stems(item_of(asked.question)))
    examples = [(place, label, words) for place, text in enumerate(asked.texts) for label, words in _examples(text)]
    weights = _weights(item.union(*(words for *_, words in examples)), [words for *_, words in examples])
    best, reply = 0.0, Reply("")
    for place, label, words in examples:
        shared = math.fsum(weights[root] for root in words & item)
        score = shared / math.sqrt(math.fsum(weights[root] for root in words)) if shared else 0.0
        if score > best:
            best, reply = score, Reply(label, (place,))
    return reply


@lru_cache(maxsize=8192)
def _examples(text: str) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((label, frozenset(stems(example))) for example, label in labelled_examples(text))


@lru_cache(maxsize=8192)
def _read_text(text: str) -> tuple[_Sentence, ...]:
    """Cached: the same items come back for many questions and siblings."""
    return tuple(_read_sentence(sentence) for sentence in sentences(text) if not _HEADER.match(sentence))


def _read_sentence(text: str) -> _Sentence:
    raw = _WORD.findall(text)
    words = tuple(map(stem, raw))
    kinds: dict[str, set[str]] = {"name": set(), "number": set(), "date": set()}
    for word, root in zip(raw, words, strict=True):
        lower = word.lower()
        digits = any(map(str.isdigit, word))
        if word[0].isupper() and lower not in _STOP:
            kinds["name"].add(root)
        if digits or lower in _NUMBERS:
            kinds["number"].add(root)
        if digits or lower in _DATES:
            kinds["date"].add(root)
    frozen = {kind: frozenset(found) for kind, found in kinds.items()}
    return _Sentence(text, words, frozenset(words), frozen, bool(_CORRECTION.search(text)))


@lru_cache(maxsize=8192)
def _read_question(text: str) -> _Wanted:
    raw = _WORD.findall(text)
    words = tuple(map(stem, raw))
    content = frozenset(root for word, root in zip(raw, words, strict=True) if word.lower() not in _STOP)
    kind = next((kind for kind, pattern in _KINDS if pattern.search(text)), None)
    yes_no = bool(_YES_NO.match(text)) and not _OR.search(text)
    return _Wanted(frozenset(words), content, frozenset(pairwise(words)), kind, yes_no)


def _cut(line: str) -> Iterator[str]:
    rest = _BULLET.sub("", line)
    begin = 0
    for end in _SENTENCE_END.finditer(rest):
        if not _ABBREVIATION.search(rest[max(begin, end.start() - 8) : end.start()]):
            yield rest[begin : end.end()].strip()
            begin = end.end()
    yield rest[begin:].strip()


def _pieces(sentence: str) -> list[str]:
    words = sentence.split()
    if len(words) <= LONGEST_REPLY:
        return [sentence] if words else []
    return [" ".join(words[i : i + LONGEST_REPLY]) for i in range(0, len(words), LONGEST_REPLY)]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HELD = 0.6  # share of a yes/no question's words, by weight, that the texts must hold for a yes

_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)*")
_LINES = re.compile(r"\n+|;\s")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|Prof|Gen|Col|Lt|No|vs|etc|e\.g|i\.e|cf|approx|ca)|\b[A-Z])\.$"
)
_BULLET = re.compile(r"^\s*(?:[-*•–]|\d+[.)])\s+")
_HEADER = re.compile(r"^\[[^\]]*\]$")  # "[Session 2025-01-06 09:00]" speaks about the text
_CORRECTION = re.compile(
    r"\b(?:correction|corrected|changed|instead|updated?|actually|moved|switched|replaced|now|new)\b", re.I
)
_NEGATION = re.compile(r"\b(?:not|never|no|none|neither|nor|without|cannot)\b|n't\b", re.I)
_OR = re.compile(r"\bor\b", re.I)
_YES_NO = re.compile(
    r"\s*(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|am|isn't|aren't|didn't|doesn't)\b",
    re.I,
)
_KINDS = (
    (
        "number",
        re.compile(
            r"\bhow (?:many|much|old|far|long|tall|high|large|big|often|fast|deep|wide|heavy)\b|\b(?:what|which)\b.*"
            r"\b(?:number|percent(?:age)?|code|price|cost|population|age|score|temperature|distance|pin)\b",
            re.I,
        ),
    ),
    (
        "date",
        re.compile(r"\bwhen\b|\b(?:what|which)\s+(?:\w+\s+)?(?:year|date|day|month|time|decade|century)\b", re.I),
    ),
    (
        "name",
        re.compile(
            r"\b(?:who|whom|whose|where)\b"
            r"|\b(?:what|which) (?:city|country|state|town|place|continent|river|county|region)\b",
            re.I,
        ),
    ),
)

_STOP = _words(
    """a about all also am an and any are as at be been being both but by can could d did do does done during each else
    for from get gets give given had has have he her here hers him his how i if in into is it its just kind let many
    may me might more most much must my name named not of on one only or other our out over s said same say shall
    she should so some such t tell than that the their them then there these they this those to too type under until
    up us use used using very was we were what when where which while who whom whose why will with would you your"""
)
_NUMBERS = _words(
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen half
    twice once third quarter first second single double both several"""
)
_DATES = _words(
    """january february march april may june july august september october november december monday tuesday wednesday
    thursday friday saturday sunday yesterday today tomorrow morning evening afternoon night noon midnight spring summer
    autumn winter century week month year weekend daily weekly"""
)
_ENDINGS = ("ation", "ment", "edly", "ing", "ion", "ian", "ed", "er", "or", "ly", "al")
_IRREGULAR = {
    form: word
    for word, forms in {
        "write": "wrote written", "win": "won", "begin": "began begun", "hold": "held", "build": "built",
        "buy": "bought", "bring": "brought", "teach": "taught", "think": "thought", "lead": "led", "leave": "left",
        "lose": "lost", "make": "made", "meet": "met", "pay": "paid", "run": "ran", "sell": "sold", "send": "sent",
        "sing": "sang sung", "speak": "spoke spoken", "spend": "spent", "take": "took taken", "tell": "told",
        "wear": "wore worn", "grow": "grew grown", "know": "knew known", "become": "became", "go": "went gone",
        "choose": "chose chosen", "give": "gave", "keep": "kept", "see": "saw seen", "child": "children", "man": "men",
        "woman": "women", "person": "people", "marry": "marriage spouse wife husband", "die": "died death dead",
        "live": "living resides",
    }.items()
    for form in forms.split()
}  # fmt: skip

_RULES = (__file__, labels.__file__, asking.__file__)
_VERSION = hashlib.sha256(b"".join(Path(rules).read_bytes() for rules in _RULES)).hexdigest()[:8]
"""Of the rules' own text: a changed rule never meets an answer that was cached under the old one."""
