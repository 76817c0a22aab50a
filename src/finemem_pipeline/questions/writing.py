"""Chunk questions for a set of streams: the source's own, filled up with written ones that a verifier could answer."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.metrics import score
from finemem_pipeline.questions.cache import QuestionCache
from finemem_pipeline.questions.drafts import Draft, Drafts, Writer
from finemem_pipeline.reasoning import Asked, Reasoner

VERSION = 1
"""Of the checks below; a change makes older cache entries unknown."""

BATCH = 16
"""Chunks written, verified and committed together."""

LONGEST_ANSWER = 8
"""Words; a longer answer is no single fact."""

_log = logging.getLogger(__name__)


def write_questions(
    episodes: Sequence[Episode],
    writer: Writer,
    verifier: Reasoner,
    per_chunk: int = 5,
    cache: Path | None = None,
) -> tuple[list[Episode], dict[str, Any]]:
    """The streams with at most `per_chunk` questions per chunk, and a report.

    A chunk keeps its own questions first. What is missing is written from its text, twice as many as may be kept; a
    draft is kept if the verifier answers it from the chunk alone and scores 1 by sub_em, and if neither the chunk nor
    the end of the stream asks the same already. A chunk whose verification failed (not: was answered wrongly) is not
    cached, so that the next run asks again. Errors of writer and verifier propagate; the cache keeps what was done.

    Report: chunks, own, asked, kept, dropped {reason: drafts}, cache_hits (texts), writer_calls (texts),
    without (chunks that have no question).
    """
    report: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    with closing(QuestionCache(cache)) as known:
        texts = [chunk.text for episode in episodes for chunk in episode.chunks if len(chunk.questions) < per_chunk]
        written = _written(list(dict.fromkeys(texts)), writer, verifier, per_chunk, known=known, report=report)
    filled = []
    for episode in episodes:
        final = {_normalised(question.text) for question in episode.questions}
        chunks = []
        for chunk in episode.chunks:
            own = chunk.questions[:per_chunk]
            report.update(chunks=1, own=len(own))
            new: tuple[Question, ...] = ()
            if len(own) < per_chunk:
                entry = written[chunk.text]
                asked = final | {_normalised(question.text) for question in own}
                fresh = tuple(_new(episode.id, chunk, entry["kept"], asked))
                new = fresh[: per_chunk - len(own)]
                dropped.update(entry["dropped"])
                dropped.update(duplicate=len(entry["kept"]) - len(fresh), surplus=len(fresh) - len(new))
                report.update(asked=entry["asked"], kept=len(new))
            report.update(without=int(not own + new))
            chunks.append(replace(chunk, questions=own + new))
        filled.append(replace(episode, chunks=tuple(chunks)))
    names = ("chunks", "own", "asked", "kept", "cache_hits", "writer_calls", "without")
    return filled, {**{name: report[name] for name in names}, "dropped": dict(sorted((+dropped).items()))}


def _written(
    texts: list[str],
    writer: Writer,
    verifier: Reasoner,
    per_chunk: int,
    *,
    known: QuestionCache,
    report: Counter[str],
) -> dict[str, dict[str, Any]]:
    """{text: {"kept": [[question, answer], …], "asked": drafts, "dropped": {reason: drafts}}}, cached or new."""
    keys = {text: _key(text, writer, verifier, per_chunk) for text in texts}
    cached = known.get(keys.values())
    found = {text: cached[key] for text, key in keys.items() if key in cached}
    missing = [text for text in texts if text not in found]
    report.update(cache_hits=len(found), writer_calls=len(missing))
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        entries = dict(zip(batch, _verified(batch, writer.write(batch, 2 * per_chunk), verifier), strict=True))
        known.put({keys[text]: entry for text, entry in entries.items() if "unverified" not in entry["dropped"]})
        found.update(entries)
        _log.info("Questions written for %d of %d chunks", min(start + BATCH, len(missing)), len(missing))
    return found


def _verified(texts: Sequence[str], drafts: Sequence[Drafts], verifier: Reasoner) -> list[dict[str, Any]]:
    """One entry per text; all drafts go to the verifier in one call."""
    entries: list[dict[str, Any]] = []
    asked: list[tuple[int, Draft]] = []
    for place, each in enumerate(drafts):
        dropped = Counter({"malformed": each.malformed} if each.malformed else {})
        seen: set[str] = set()
        for draft in each.found:
            reason = _unfit(draft, seen)
            seen.add(_normalised(draft.question))
            if reason is None:
                asked.append((place, draft))
            else:
                dropped[reason] += 1
        entries.append({"kept": [], "asked": len(each.found) + each.malformed, "dropped": dropped})
    replies = verifier.answer([Asked(draft.question, (texts[place],)) for place, draft in asked]) if asked else []
    for (place, draft), reply in zip(asked, replies, strict=True):
        if reply.failure is not None:
            entries[place]["dropped"]["unverified"] += 1
        elif score(reply.text, Question("", draft.question, (draft.answer,))) < 1:
            entries[place]["dropped"]["wrong"] += 1
        else:
            entries[place]["kept"].append([draft.question, draft.answer])
    return entries


def _unfit(draft: Draft, seen: set[str]) -> str | None:
    """Why a draft is not worth verifying."""
    if _normalised(draft.question) in seen:
        return "duplicate"
    if len(draft.answer.split()) > LONGEST_ANSWER:
        return "long"
    if not _normalised(draft.answer) or draft.answer.lower() in draft.question.lower():
        return "given_away"
    return None


def _new(stream: str, chunk: Chunk, kept: list[list[str]], asked: set[str]) -> Iterator[Question]:
    """The verified questions that are not asked yet, with ids that stay the same from run to run."""
    for place, (text, answer) in enumerate(kept, start=len(chunk.questions)):
        if _normalised(text) not in asked:
            name = f"{stream}-c{chunk.index:03d}-w{place}"
            yield Question(name, text, (answer,), evidence=(chunk.index,), kind="written")


def _key(text: str, writer: Writer, verifier: Reasoner, per_chunk: int) -> str:
    parts = json.dumps([text, writer.identity, verifier.identity, per_chunk, VERSION])
    return hashlib.sha256(parts.encode()).hexdigest()


def _normalised(text: str) -> str:
    """The words alone, lower-cased."""
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))
