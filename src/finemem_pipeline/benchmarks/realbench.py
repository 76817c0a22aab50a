"""Streams in the realbench schema: one JSON object per line. A record, shortened:

    {"instance_id": "mquake-dev-0000", "data_source": "mquake", "task_type": "CR",
     "chunks": [{"chunk_id": "c00", "timestamp": "2025-01-06 09:00",
                 "text": "User: Register entries. …\\n- Rubber Soul was performed by The Beatles.\\n…"}, …],
     "questions": [{"question_id": "mquake-dev-0000-q000", "question": "Who performed Rubber Soul?",
                    "answers": ["Madonna", "Madonna Ciccone"], "metric": "sub_em", "category": "single_hop_update",
                    "evidence_chunk_ids": ["c05"], "stale_chunk_ids": ["c02"]}, …],
     "chunk_questions": [{"question_id": "mquake-dev-0000-k000", "chunk_id": "c00", "metric": "sub_em",
                          "question": "Who performed Rubber Soul?", "answers": ["The Beatles"]}, …],
     "license": "MIT", "meta": {…}}

Chunk ids become places in the stream, `category` becomes `Question.kind`. A chunk question is evidence of its own chunk
unless it says otherwise. Fields of a question that are not named here may stand there and are left alone; anywhere else
an unknown field is a fault. Where a question id repeats within a stream, the second gets "#2" behind it, and so on;
between streams ids may repeat.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from finemem_pipeline.benchmarks.faults import Fault, guess, listing, quoted, report
from finemem_pipeline.benchmarks.files import Truncated, read_lines, write_lines
from finemem_pipeline.episodes import TASKS, Chunk, Episode, Question, Task
from finemem_pipeline.errors import DataError
from finemem_pipeline.metrics import METRICS


def load(path: str | Path, split: str) -> Iterator[Episode]:
    """The streams of `<path>/<split>.jsonl[.gz]`, or of `path` itself if it is a file, whatever the split.

    The whole file is checked before the first stream is given out. Raises DataError if the file is missing or empty,
    or naming every bad row with file, line, field and reason.
    """
    file = locate(Path(path), split)
    episodes = read_episodes(file)
    if not episodes:
        raise DataError(f"{file}: the file has no rows, expected one JSON object per line.")
    return iter(episodes)


def find(path: str | Path, split: str) -> list[Path]:
    """The file of a split, as the other loaders' finders tell it. Raises DataError as `locate`."""
    return [locate(Path(path), split)]


def locate(path: Path, split: str) -> Path:
    """The file of a split. Raises DataError naming what was looked for and what is there."""
    if path.is_file():
        return path
    wanted = [path / f"{split}.jsonl", path / f"{split}.jsonl.gz"]
    found = [file for file in wanted if file.is_file()]
    if len(found) == 2:
        raise DataError(
            f"{path}: both {found[0].name} and {found[1].name} are there; remove the one that is out of date."
        )
    if found:
        return found[0]
    if not path.is_dir():
        there = sorted(each.name for each in path.parent.iterdir()) if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file or folder.{guess(path.name, there)}{listing(path.parent, there)}")
    there = sorted(each.name for each in path.iterdir())
    raise DataError(
        f"{path}: no {wanted[0].name} or {wanted[1].name} for the split '{split}'."
        f"{guess(wanted[0].name, there)}{listing(path, there)}"
    )


def read_episodes(file: Path) -> list[Episode]:
    """Every stream of one file, possibly none. Raises DataError naming all bad rows."""
    episodes: list[Episode] = []
    faults: list[Fault] = []
    lines: dict[str, int] = {}  # stream id -> the line it first stood on
    try:
        for line, raw in read_lines(file):
            row, wrong = _parse(raw)
            faults.extend(Fault(line, *each) for each in wrong)
            if row is None:
                continue
            if row.instance_id in lines:
                before = lines[row.instance_id]
                faults.append(Fault(line, "instance_id", f"'{row.instance_id}' already stands on line {before}"))
            lines.setdefault(row.instance_id, line)
            if not wrong:
                episodes.append(row.episode())
    except Truncated as damage:
        faults.append(Fault(damage.line, "", f"the gzip data is damaged or cut off here ({damage})"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}.") from error
    if faults:
        raise DataError(report(file, faults))
    return episodes


def dump(episode: Episode) -> dict[str, Any]:
    """The record of a stream, such that reading it back gives an equal stream."""
    width = max(2, len(str(len(episode.chunks) - 1)))
    names = [f"c{index:0{width}d}" for index in range(len(episode.chunks))]

    def fields(question: Question) -> dict[str, Any]:
        optional = {
            "evidence_chunk_ids": [names[t] for t in question.evidence],
            "stale_chunk_ids": [names[t] for t in question.stale],
            "keywords": list(question.keywords),
            "category": question.kind,
        }
        return {
            "question_id": question.id,
            "question": question.text,
            "answers": list(question.answers),
            "metric": question.metric,
            **{name: value for name, value in optional.items() if value},
        }

    def chunk_fields(question: Question, index: int) -> dict[str, Any]:
        record = {**fields(question), "chunk_id": names[index]}
        if question.evidence == (index,):
            del record["evidence_chunk_ids"]
        elif not question.evidence:
            record["evidence_chunk_ids"] = []
        if question.until is not None:
            record["until_chunk_id"] = names[question.until]
        return record

    chunks = [
        {"chunk_id": name, "text": chunk.text, **({} if chunk.timestamp is None else {"timestamp": chunk.timestamp})}
        for name, chunk in zip(names, episode.chunks, strict=True)
    ]
    return {
        "instance_id": episode.id,
        "data_source": episode.source,
        "task_type": episode.task,
        "chunks": chunks,
        "questions": [fields(question) for question in episode.questions],
        "chunk_questions": [
            chunk_fields(question, chunk.index) for chunk in episode.chunks for question in chunk.questions
        ],
    }


def undump(record: dict[str, Any]) -> Episode:
    """The stream of a record that `dump` made."""
    return _Row.model_validate(record).episode()


def write_episodes(path: Path, episodes: Iterable[Episode]) -> None:
    """One stream per line, atomically; equal streams give equal bytes."""
    write_lines(path, (dump(episode) for episode in episodes))


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("surrogate", "holds a lone surrogate, which is no character") from error
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("empty", "is empty")
    return text


def _one_of(known: Collection[str], what: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in known:
            listed = ", ".join(sorted(known))
            shown = name.encode("utf-8", "backslashreplace").decode()
            reason = f"'{shown}' is not a known {what}.{guess(shown, known)} Known: {listed}."
            raise PydanticCustomError("unknown", "{reason}", {"reason": reason})
        return name

    return AfterValidator(check)


Text = Annotated[str, AfterValidator(_encodable)]
Filled = Annotated[Text, AfterValidator(_filled)]


class _Chunk(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    chunk_id: Filled
    text: Filled
    timestamp: Text | None = None


class _Question(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    question_id: Filled
    question: Filled
    answers: list[Filled] = Field(min_length=1)
    metric: Annotated[str, _one_of(METRICS, "metric")]
    evidence_chunk_ids: list[str] | None = None
    stale_chunk_ids: list[str] = []
    keywords: list[Filled] = []
    category: Text = ""

    @model_validator(mode="after")
    def _scorable(self) -> _Question:
        if self.metric == "keyword_recall" and not self.keywords:
            raise PydanticCustomError("keywords", "keyword_recall needs a list of keywords")
        return self


class _ChunkQuestion(_Question):
    chunk_id: str
    until_chunk_id: str | None = None


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    instance_id: Filled
    data_source: Filled
    task_type: Annotated[str, _one_of(TASKS, "task")]
    chunks: list[_Chunk] = Field(min_length=1)
    questions: list[_Question]
    chunk_questions: list[_ChunkQuestion] = []
    license: str | None = None
    meta: dict[str, Any] | None = None

    def dangling(self) -> Iterator[tuple[str, str]]:
        """(field, reason) of every chunk id that is given twice or names no chunk."""
        known: dict[str, int] = {}
        for place, chunk in enumerate(self.chunks):
            if chunk.chunk_id in known:
                earlier = known[chunk.chunk_id]
                yield f"chunks[{place}].chunk_id", f"'{chunk.chunk_id}' is already the id of chunks[{earlier}]"
            known.setdefault(chunk.chunk_id, place)
        asked: list[tuple[str, list[_Question]]] = [
            ("questions", self.questions),
            ("chunk_questions", [*self.chunk_questions]),
        ]
        for table, questions in asked:
            for place, question in enumerate(questions):
                named: list[tuple[str, list[str]]] = []
                if isinstance(question, _ChunkQuestion):
                    named.append(("chunk_id", [question.chunk_id]))
                    if question.until_chunk_id is not None:
                        named.append(("until_chunk_id", [question.until_chunk_id]))
                named += [("evidence_chunk_ids", question.evidence_chunk_ids or [])]
                named += [("stale_chunk_ids", question.stale_chunk_ids)]
                for field, ids in named:
                    for each in ids:
                        if each not in known:
                            yield f"{table}[{place}].{field}", f"'{each}' is no chunk of this row.{guess(each, known)}"
                        elif field == "until_chunk_id" and known[each] <= known.get(named[0][1][0], -1):
                            yield f"{table}[{place}].{field}", f"'{each}' is not later than the question's own chunk"

    def episode(self) -> Episode:
        place = {chunk.chunk_id: index for index, chunk in enumerate(self.chunks)}
        taken: set[str] = set()

        def convert(question: _Question, default: tuple[int, ...] = ()) -> Question:
            evidence = question.evidence_chunk_ids
            return Question(
                id=_once(question.question_id, taken),
                text=question.question,
                answers=tuple(question.answers),
                metric=question.metric,
                evidence=default if evidence is None else tuple(sorted({place[each] for each in evidence})),
                stale=tuple(sorted({place[each] for each in question.stale_chunk_ids})),
                keywords=tuple(question.keywords),
                kind=question.category,
            )

        final = tuple(convert(question) for question in self.questions)
        own: list[list[Question]] = [[] for _ in self.chunks]
        for question in self.chunk_questions:
            index = place[question.chunk_id]
            until = None if question.until_chunk_id is None else place[question.until_chunk_id]
            own[index].append(replace(convert(question, default=(index,)), until=until))
        chunks = tuple(
            Chunk(index, chunk.text, tuple(own[index]), chunk.timestamp) for index, chunk in enumerate(self.chunks)
        )
        return Episode(self.instance_id, self.data_source, cast(Task, self.task_type), chunks, final)


def _once(name: str, taken: set[str]) -> str:
    """The id itself the first time, then with #2, #3 … behind it."""
    unique, count = name, 1
    while unique in taken:
        count += 1
        unique = f"{name}#{count}"
    taken.add(unique)
    return unique


def _parse(raw: bytes) -> tuple[_Row | None, list[tuple[str, str]]]:
    """The row if it has the right shape, and what is wrong with it as (field, reason)."""
    try:
        value = json.loads(raw.decode())
    except UnicodeDecodeError as error:
        return None, [("", f"not UTF-8: byte 0x{raw[error.start]:02x} at column {error.start + 1}")]
    except RecursionError:
        return None, [("", "not usable JSON: nested too deeply")]
    except ValueError as error:
        if raw.startswith(b"version https://git-lfs"):
            return None, [("", "this is a Git LFS pointer, not the data; fetch the file itself (git lfs pull)")]
        return None, [("", f"not JSON: {error}")]
    try:
        row = _Row.model_validate(value)
    except ValidationError as error:
        return None, [(_field(each["loc"]), _reason(each)) for each in error.errors(include_url=False)]
    return row, list(row.dangling())


def _field(place: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return path.removeprefix(".")


def _reason(error: Any) -> str:
    kind, found = error["type"], error["input"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        fields = _Row.model_fields if len(error["loc"]) == 1 else _Chunk.model_fields
        return f"is not a field of the schema.{guess(str(error['loc'][-1]), fields)}"
    if kind == "too_short":
        return "is empty, expected at least one"
    if kind in {"surrogate", "empty", "unknown", "keywords"}:
        return str(error["msg"])
    wanted = {"string_type": "text", "list_type": "a list", "dict_type": "an object", "model_type": "an object"}
    return f"expected {wanted.get(kind, error['msg'])}, found {quoted(found)}"
