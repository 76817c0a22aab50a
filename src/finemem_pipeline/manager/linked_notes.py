"""A-Mem's memory: notes with keywords, linked to their nearest notes.

m1: note (keywords: Ann, key; links: m2): Ann found the red key.
m2: note (keywords: key, shed; links: m1): The red key opens the shed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from finemem_pipeline.generation import Conversation
from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.metered import ByNearest
from finemem_pipeline.manager.prompts import told, two_turns
from finemem_pipeline.manager.replies import line, spoken, values, written
from finemem_pipeline.memory import Insert, MemoryItem, Operation, Update

MOST_KEYWORDS = 8
MOST_LINKS = 10
"""Of a note; the newest are kept."""

_WRITE = (
    "Read the text and write notes of what may be asked later, each one sentence that can be understood by itself, "
    'with a few keywords. Reply with a JSON list: [{"content": "sentence", "keywords": ["word", "word"]}]. Reply [] if '
    "there is nothing to note."
)
_LINK = (
    "A new note comes into a memory of notes. Say which of the notes shown belong together with it, and give better "
    "keywords to those whose meaning it changes. Reply with one JSON object: "
    '{"links": ["m1"], "keywords": {"m1": ["word", "word"]}}'
)
_NOTE = re.compile(r"(?s)note \(keywords: ([^;()]*); links: ([^;()]*)\): (.*)")
_NO_KEYWORD = re.compile(r"[;,()]+")


@dataclass(frozen=True, slots=True)
class Note:
    """One note, as it stands in the text of an item."""

    content: str
    keywords: tuple[str, ...] = ()
    links: tuple[str, ...] = ()  # ids of items

    def __str__(self) -> str:
        return f"note (keywords: {', '.join(self.keywords)}; links: {', '.join(self.links)}): {self.content}"


class LinkedNotesStyle(ByNearest):
    """A memory in the manner of A-Mem (arXiv:2502.12110): notes with keywords and links.

    First the model writes the notes of a chunk, at most `most` of them; then each is held against its `nearest`
    notes by `retriever`, and the model says which are linked and which of them get other keywords. A link stands in
    both notes. That makes one call for a chunk and one for each of its notes that resembles another. What differs
    from the original: keywords and links alone, without tags and a context sentence; nearest by the retriever of the
    run instead of embeddings of all fields; all notes of a chunk are held against the memory before the chunk, so that
    they go in one batch; a reader sees the notes it retrieved, and does not follow their links. A reply that cannot be
    read leaves a note without links.
    """

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        replies = self.ask([(each, two_turns(_WRITE, told(each.chunk))) for each in observations])
        steps = [self._begin(each, reply.text) for each, reply in zip(observations, replies, strict=True)]
        pending = [(step, note, near) for step in steps for note, near in step.notes if near]
        decisions = self.ask([(step.observation, _question(note, near)) for step, note, near in pending])
        linked = iter(reply.text for reply in decisions)
        return [_turn(step, [next(linked) if near else None for _, near in step.notes]) for step in steps]

    def _begin(self, observation: Observation, reply: str) -> _Step:
        notes = notes_in(reply)
        if notes is None:
            return _Step(observation, unread=[reply])
        notes = notes[: self.most]
        asked = [" ".join((note.content, *note.keywords)) for note in notes]
        return _Step(observation, list(zip(notes, self.near(observation, asked), strict=True)))


@dataclass(frozen=True)
class _Step:
    """The notes of one chunk, each with its nearest items."""

    observation: Observation
    notes: list[tuple[Note, list[MemoryItem]]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def notes_in(reply: str) -> list[Note] | None:
    """The notes of a reply, also of one that was cut off; None if it is no list of notes."""
    lists = [found if isinstance(found, list) else [found] for found in values(spoken(reply))]
    entries = [entry for found in lists for entry in found]
    notes = dict.fromkeys(note for entry in entries for note in [_note(entry)] if note is not None)
    return list(notes) if notes or [] in lists else None


def read_note(text: str) -> Note:
    """The note in the text of an item."""
    found = _NOTE.fullmatch(text)
    if found is None:
        return Note(text)
    keywords, links, content = found.groups()
    return Note(content, _parts(keywords), _parts(links))


def _note(entry: Any) -> Note | None:
    content = entry.get("content") if isinstance(entry, dict) else entry
    if not isinstance(content, str) or not line(content):
        return None
    return Note(line(content), _keywords(entry.get("keywords") if isinstance(entry, dict) else None))


def _keywords(found: Any) -> tuple[str, ...]:
    words = found.split(",") if isinstance(found, str) else found if isinstance(found, list) else []
    cleaned = (line(_NO_KEYWORD.sub(" ", word)) for word in words if isinstance(word, str))
    return tuple(dict.fromkeys(filter(None, cleaned)))[:MOST_KEYWORDS]


def _parts(listed: str) -> tuple[str, ...]:
    return tuple(part for part in listed.split(", ") if part)


def _question(note: Note, near: Sequence[MemoryItem]) -> Conversation:
    listed = "\n".join(f"{item.id}: {line(item.text)}" for item in near)
    return two_turns(_LINK, f"Notes:\n{listed}\n\nNew note: {note.content} ({', '.join(note.keywords)})")


def _turn(step: _Step, replies: Sequence[str | None]) -> Turn:
    bank = step.observation.bank
    unread = list(step.unread)
    inserted: list[Operation] = []
    changed: dict[str, Note] = {}  # notes of the bank as they are to be, by id
    for number, ((note, near), reply) in enumerate(zip(step.notes, replies, strict=True), bank.born + 1):
        links: list[str] = []
        if reply is not None:
            before = {item.id: changed.get(item.id, read_note(item.text)) for item in near}
            decided = _decided(reply, before)
            if decided is None:
                unread.append(reply)
            else:
                links, keywords = decided
                for item_id, words in keywords.items():
                    changed[item_id] = before[item_id] = replace(before[item_id], keywords=words)
                for item_id in links:
                    changed[item_id] = replace(before[item_id], links=_newest((*before[item_id].links, f"m{number}")))
        inserted.append(Insert(str(replace(note, links=_newest(links)))))
    updated = [Update(item_id, str(note)) for item_id, note in changed.items()]
    shown = frozenset(item.id for _, near in step.notes for item in near)
    return Turn(written([*inserted, *updated], unread), shown)


def _decided(reply: str, near: dict[str, Note]) -> tuple[list[str], dict[str, tuple[str, ...]]] | None:
    """Ids to link and new keywords by id, both of notes that were shown; None if the reply cannot be read."""
    objects = [value for value in values(spoken(reply)) if isinstance(value, dict) and value.keys() & _FIELDS]
    if not objects:
        return None
    links, keywords = objects[-1].get("links"), objects[-1].get("keywords")
    linked = [each for each in links if isinstance(each, str)] if isinstance(links, list) else []
    renamed = {key: _keywords(words) for key, words in keywords.items()} if isinstance(keywords, dict) else {}
    return (
        [item_id for item_id in dict.fromkeys(linked) if item_id in near],
        {item_id: words for item_id, words in renamed.items() if item_id in near and words},
    )


_FIELDS = {"links", "keywords"}


def _newest(links: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(links))[-MOST_LINKS:]
