"""Chunks cut to a token limit: split, never truncated.

Cuts fall at the ends of lines and sentences, within a longer sentence between words, within a longer word anywhere. A
`Class: 7` line stays with the example above it. The pieces put together are the chunk again, character by character;
white space stays with the text before it and is not held against the limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from finemem_pipeline.episodes import Chunk, Episode, Question

_SENTENCE = re.compile(r".+?(?:[.!?][\"'”’)\]]*(?=\s)|\n|\Z)\s*", re.DOTALL)
_LABEL = re.compile(r"(class|labels?|category|intent)\s*:", re.IGNORECASE)
_WORD = re.compile(r"\s*\S+\s*")
_LABELS = ("label_em", "digit_label")
_SPELLED = {"sub_em", "token_f1", "ruler", *_LABELS}  # metrics whose references stand in the text as they are


def cut_chunks(episode: Episode, max_tokens: int, count_tokens: Callable[[str], int]) -> Episode:
    """The stream with no chunk longer than `max_tokens`; the stream itself if none was.

    Evidence points to the pieces in which a reference is found, to all pieces of the chunk if it is found in none;
    stale points to all pieces but those. A chunk question goes to the piece that holds the example it quotes, or else a
    reference (the one that shares most words with it), or else to the last piece.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, found {max_tokens}")
    texts = [cut_text(chunk.text, max_tokens, count_tokens) for chunk in episode.chunks]
    if all(len(pieces) == 1 for pieces in texts):
        return episode
    places: list[range] = []  # old index -> new indices
    for pieces in texts:
        start = places[-1].stop if places else 0
        places.append(range(start, start + len(pieces)))
    flat = [text for pieces in texts for text in pieces]

    def moved(question: Question, evidence: tuple[int, ...] | None = None) -> Question:
        if evidence is None:
            evidence = tuple(new for old in question.evidence for new in _holding(question, places[old], flat))
        stale = tuple(new for old in question.stale for new in places[old] if new not in evidence)
        until = None if question.until is None else places[question.until][0]
        return replace(question, evidence=evidence, stale=stale, until=until)

    own: list[list[Question]] = [[] for _ in flat]
    for chunk in episode.chunks:
        for question in chunk.questions:
            home = _home(question, places[chunk.index], flat)
            own[home].append(moved(question, (home,) if question.evidence == (chunk.index,) else None))
    chunks = tuple(
        Chunk(new, flat[new], tuple(own[new]), chunk.timestamp)
        for chunk in episode.chunks
        for new in places[chunk.index]
    )
    return replace(episode, chunks=chunks, questions=tuple(moved(question) for question in episode.questions))


def cut_text(text: str, max_tokens: int, count_tokens: Callable[[str], int]) -> list[str]:
    """The pieces of a text, in order; "".join(pieces) == text."""
    if count_tokens(text) <= max_tokens:
        return [text]
    return cut_parts(_sentences(text), max_tokens, count_tokens)


def cut_parts(parts: Iterable[str], max_tokens: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Whole parts put together in order, as many as fit; a part that is too long by itself is cut between words."""
    return _pack(parts, max_tokens, count_tokens, _words)


def _pack(
    parts: Iterable[str],
    max_tokens: int,
    count_tokens: Callable[[str], int],
    finer: Callable[[str], list[str]] | None,
) -> list[str]:
    """As few pieces as go in order, judged by the sum of the parts' lengths, which is rarely less than the whole's.

    A part that is too long by itself is split by `finer`, a word by halves. Every text is counted two or three times.
    """
    pieces: list[list[str]] = []
    sizes: list[int] = []
    for part in parts:
        size = count_tokens(part)
        if size > max_tokens and len(part.strip()) > 1 and count_tokens(part.strip()) > max_tokens:
            inner = _pack(finer(part) if finer else _halves(part), max_tokens, count_tokens, None)
            pieces.extend([each] for each in inner)
            sizes.extend([max_tokens] * len(inner))  # full: the next sentence begins a piece of its own
        elif pieces and sizes[-1] + size <= max_tokens:
            pieces[-1].append(part)
            sizes[-1] += size
        else:
            pieces.append([part])
            sizes.append(size)
    return [text for piece in pieces for text in _within(piece, max_tokens, count_tokens)]


def _within(parts: list[str], max_tokens: int, count_tokens: Callable[[str], int]) -> list[str]:
    """The parts as one text, or as two halves where a tokenizer makes more of the whole than of its parts."""
    text = "".join(parts)
    if len(parts) == 1 or count_tokens(text.strip()) <= max_tokens:
        return [text]
    half = len(parts) // 2
    return _within(parts[:half], max_tokens, count_tokens) + _within(parts[half:], max_tokens, count_tokens)


def _sentences(text: str) -> list[str]:
    """Sentences and lines, each with the white space behind it."""
    found: list[str] = []
    for part in _SENTENCE.findall(text):
        if found and (not part.strip() or (found[-1].rstrip(" ").endswith("\n") and _LABEL.match(part))):
            found[-1] += part
        else:
            found.append(part)
    if len(found) > 1 and not found[0].strip():
        found[:2] = ["".join(found[:2])]
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _halves(word: str) -> list[str]:
    middle = (len(word) - len(word.lstrip()) + len(word.rstrip())) // 2
    return [word[:middle], word[middle:]]


def _holding(question: Question, pieces: range, texts: list[str]) -> list[int]:
    """The pieces in which a reference stands as words of its own, or all of them."""
    found = [place for place in pieces if _mentions(texts[place], question)] if len(pieces) > 1 else []
    return found or list(pieces)


def _mentions(text: str, question: Question) -> bool:
    if question.metric not in _SPELLED:
        return False
    return any(
        re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) is not None for answer in question.answers
    )


def _home(question: Question, pieces: range, texts: list[str]) -> int:
    """The piece after which a chunk question can be answered."""
    if question.metric in _LABELS:
        lines = sorted(question.text.split("\n"), key=len, reverse=True)
        return next((place for line in lines for place in pieces if line and line in texts[place]), pieces[-1])
    asked = set(re.findall(r"\w+", question.text.lower()))
    holding = [place for place in pieces if _mentions(texts[place], question)]
    return max(
        holding,
        key=lambda place: len(asked.intersection(re.findall(r"\w+", texts[place].lower()))),
        default=pieces[-1],
    )
