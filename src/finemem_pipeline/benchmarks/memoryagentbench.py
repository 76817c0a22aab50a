"""MemoryAgentBench (Hu et al., arXiv 2507.05257), for evaluation: as published, or as Mem-α converted it.

As published: four files, Accurate_Retrieval, Test_Time_Learning, Long_Range_Understanding, Conflict_Resolution. A row,
shortened:

    context    "Here is a list of facts:\\n0. Ada is a citizen of Norway.\\n1. …"
    questions  ["Which country is Ada a citizen of?", …]
    answers    [["Peru", "Republic of Peru"], …]
    metadata   {"source": "factconsolidation_sh_6k", "qa_pair_ids": ["factconsolidation_sh_6k_no0", …],
                "question_types": null, "question_dates": null, "keypoints": null, "previous_events": null,
                "haystack_sessions": null, …}

Where this differs from the benchmark's own code:

- Chunks end where sentences, lines, facts and labelled examples do. The original has NLTK's sentences alone, may part
  an example from its label, and joins sentences by blanks; here a chunk is the context's own text.
- Tokens are counted by `approximate_tokens` unless another counter is given; the original has gpt-4o-mini's.
- Of LongMemEval the sessions are read: none shares a chunk with another, and every chunk names its date. The original
  cuts the printed list. Evidence is filled from `has_answer`, which nobody is shown.
- A chunk is not wrapped in a request to keep it: managers have prompts of their own.
- What is asked in words that all questions share stands behind the question (reasoning.asking).

Mem-α's conversion (memalpha.py's columns; chunks as they are; no conflicts, EventQA, Detective QA or films) is told by
its columns, or by its test.parquet.
"""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from finemem_pipeline.benchmarks import hub, memalpha, parquet
from finemem_pipeline.benchmarks.cutting import cut_parts, cut_text
from finemem_pipeline.benchmarks.faults import Fault, guess, listing, problem, quoted, settled
from finemem_pipeline.benchmarks.tokens import approximate_tokens
from finemem_pipeline.episodes import Chunk, Episode, Question, Task
from finemem_pipeline.errors import DataError
from finemem_pipeline.reasoning.asking import instructed

SPLITS = ("Accurate_Retrieval", "Test_Time_Learning", "Long_Range_Understanding", "Conflict_Resolution")
NEEDED = ("context", "questions", "answers", "metadata")
REMEDY = f"Get the real files (118 MB in all): {hub.download_command('ai-hyz/MemoryAgentBench')}."
PROCESSED_REMEDY = f"Get the real file: {hub.download_command('YuWangX/Memalpha-Memoryagentbench')}."
ENTITIES = "entity2id.json"
"""Film titles and their numbers; lies beside the folder of the parquet files."""

CHUNK_TOKENS = 4096
SHORT_CHUNK_TOKENS = 512

CountTokens = Callable[[str], int]

log = logging.getLogger(__name__)


def load(path: str | Path, split: str) -> Iterator[Episode]:
    """The streams of a split: `test` is everything that is there, a name of SPLITS one competence.

    All files are checked before the first stream is given out. Raises DataError naming every bad row with file, row,
    column and reason.
    """
    return read(path, split)


def read(
    path: str | Path,
    split: str,
    count_tokens: CountTokens = approximate_tokens,
    chunk_tokens: int | None = None,
) -> Iterator[Episode]:
    """As `load`, with chunks of at most `chunk_tokens` tokens, or of the size the paper has for each source."""
    files = find(path, split)
    if _converted(files[0]):
        return iter(memalpha.read_files(files, PROCESSED_REMEDY))
    streams: list[Episode] = []
    wrong: list[str] = []
    for file in files:
        try:
            streams.extend(_read_file(file, count_tokens, chunk_tokens))
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError("\n".join(wrong))
    return iter(streams)


def find(path: str | Path, split: str) -> list[Path]:
    """The files of a split. Raises DataError naming what is there, and which splits the benchmark has."""
    base = hub.resolve(path, ["*.parquet", ENTITIES])
    if base.is_file():
        return [base]
    if found := [file for name in SPLITS if split in {"test", name} for file in hub.find(base, name)]:
        return found
    if found := hub.find(base, split):
        return found
    there = sorted(each.name for place in (base, base / "data") if place.is_dir() for each in place.iterdir())
    if split not in {"test", *SPLITS}:
        raise DataError(
            f"{path}: MemoryAgentBench has no split '{split}': it is for evaluation (evaluation.source and "
            f"evaluation.path). 'test' is all of it, its parts are {', '.join(SPLITS)}."
        )
    wanted = f"{SPLITS[0] if split == 'test' else split}-00000-of-00001.parquet"
    raise DataError(f"{path}: no {wanted}.{guess(wanted, there)}{listing(base, there)} {REMEDY}")


@dataclass(frozen=True, slots=True)
class Source:
    """How one source of the benchmark is cut, asked and scored."""

    name: str  # the column of the published tables
    task: Task
    metric: str
    ask: Callable[[str, str], str]  # (question, its date or "") -> Question.text
    parts: Callable[[str], list[str]] | None = None  # what a chunk may not cut through; None: sentences
    kind: str = ""
    chunk_tokens: int = CHUNK_TOKENS


def _plain(question: str, date: str) -> str:
    return question


def _label(question: str, date: str) -> str:
    return memalpha.label_question(question)


def _dated(question: str, date: str) -> str:
    """A question to a chat, asked on a date that some of the questions about time need."""
    found = _CURRENT_DATE.match(question)
    when = found["date"].strip() if found else date
    return (
        instructed(found["question"] if found else question, f"The question is asked on {when}.") if when else question
    )


def _event(question: str, date: str) -> str:
    """What has happened is searched for; what may follow is shown beside it."""
    found = _EVENTS.fullmatch(question.strip())
    if found is None or not found["before"].strip() or not found["after"].strip():
        return question
    how = "The events above have occurred, in this order. Which of the events below happens next in the book? "
    return instructed(found["before"].strip(), f"{how}Reply with that event alone.\n{found['after'].strip()}")


def _film(question: str, date: str) -> str:
    how = "You recommend films in this conversation. Reply with twenty titles, the best first, numbered, one a line."
    return instructed(question, how)


def _fact(question: str, date: str) -> str:
    how = "Every fact has a serial number. Of facts that disagree the one with the larger number is newer and holds. "
    return instructed(question, f"{how}Answer from the facts, whatever you know of the world, as briefly as you can.")


def _examples(context: str) -> list[str]:
    """Labelled examples, each with its label."""
    return _EXAMPLE.findall(context)


def _facts(context: str) -> list[str]:
    """Facts, each with its serial number."""
    return [part for part in _FACT.split(context) if part]


_CURRENT_DATE = re.compile(
    r"\s*Current Date:\s*(?P<date>[^\n]*?)[,\s]*\n?\s*Now Answer the Question:\s*(?P<question>.*)", re.I | re.S
)
_EVENTS = re.compile(
    r"(?:[^\n]*events that have already occurred[^\n:]*:)?(?P<before>.*?)"
    r"\n[^\n]*list of possible subsequent events[^\n:]*:(?P<after>.*?)(?:\n\s*Your task is to choose.*)?",
    re.I | re.S,
)
_EXAMPLE = re.compile(r".*?\blabels?\s*:[^\n]*\s*|.+\Z", re.I | re.S)
_FACT = re.compile(r"(?:(?<=\n)|(?<=\.\s))(?=\d+\.\s)")
_SHORT = SHORT_CHUNK_TOKENS

SOURCES = {  # by the beginning of metadata.source
    "ruler_qa1": Source("ruler_qa1", "AR", "ruler", _plain, kind="single_hop", chunk_tokens=_SHORT),
    "ruler_qa2": Source("ruler_qa2", "AR", "ruler", _plain, kind="multi_hop", chunk_tokens=_SHORT),
    "longmemeval_s": Source("longmemeval_s", "AR", "judge", _dated, chunk_tokens=_SHORT),
    "eventqa": Source("eventqa", "AR", "event_recall", _event),
    "icl_banking77": Source("banking77", "TTL", "exact_match", _label, _examples),
    "icl_clinic150": Source("clinic150", "TTL", "exact_match", _label, _examples),
    "icl_nlu": Source("nlu", "TTL", "exact_match", _label, _examples),
    "icl_trec_coarse": Source("trec_coarse", "TTL", "exact_match", _label, _examples),
    "icl_trec_fine": Source("trec_fine", "TTL", "exact_match", _label, _examples),
    "recsys": Source("recsys", "TTL", "recall_at_5", _film),
    "infbench_sum": Source("infbench_sum", "LRU", "judge", _plain, kind="summary"),
    "detective_qa": Source("detective_qa", "LRU", "exact_match", _plain),
    "factconsolidation_sh": Source("factconsolidation_sh", "CR", "ruler", _fact, _facts, "single_hop", _SHORT),
    "factconsolidation_mh": Source("factconsolidation_mh", "CR", "ruler", _fact, _facts, "multi_hop", _SHORT),
}


def _converted(file: Path) -> bool:
    columns = parquet.columns_of(file, f"{REMEDY} Or: {PROCESSED_REMEDY.removeprefix('Get ')}")
    return "questions_and_answers" in columns and "questions" not in columns


def _read_file(file: Path, count_tokens: CountTokens, chunk_tokens: int | None) -> list[Episode]:
    titles = _Titles(file)
    streams: list[Episode] = []
    faults: list[Fault] = []
    left_out: list[str] = []
    for number, row in parquet.read_rows(file, NEEDED, (), REMEDY):
        read = _Row(row, number, titles)
        stream = read.episode(count_tokens, chunk_tokens)
        faults.extend(Fault(number, *each) for each in read.faults)
        left_out.extend(read.left_out)
        if stream is not None:
            streams.append(stream)
    return settled(file, streams, faults, left_out, REMEDY)


class _Titles:
    """The titles behind the numbers of films, read when the first is asked for."""

    def __init__(self, file: Path) -> None:
        self.places = [file.parent / ENTITIES, file.parent.parent / ENTITIES]
        self.known: dict[str, str] | None = None

    def of(self, number: str) -> str | None:
        """The title as it is spoken: "The_Matrix_(1999_film)" is "The Matrix". Raises DataError without the table."""
        if self.known is None:
            self.known = self._read()
        return self.known.get(number)

    def _read(self) -> dict[str, str]:
        file = next((place for place in self.places if place.is_file()), None)
        if file is None:
            raise DataError(
                f"the answers are numbers of films; {ENTITIES}, which names them, is not at {self.places[1]}"
            )
        try:
            numbers = json.loads(file.read_bytes())
            return {str(number): _title(name) for name, number in numbers.items()}
        except (ValueError, AttributeError) as error:
            raise DataError(f"{file} is no table of titles: {parquet.stand_in(file) or error}") from error


def _title(name: str) -> str:
    name = re.sub(r"[_>-]", " ", name.rsplit("/", 1)[-1])
    return " ".join(re.sub(r"\([^()]*\)", "", name).split())


class _Row:
    """One row on its way to an episode, and what is wrong with it."""

    def __init__(self, row: dict[str, Any], number: int, titles: _Titles) -> None:
        self.row = row
        self.number = number
        self.titles = titles
        self.faults: list[tuple[str, str]] = []  # (column, reason)
        self.left_out: list[str] = []

    def episode(self, count_tokens: CountTokens, chunk_tokens: int | None) -> Episode | None:
        """The stream, unless there are faults."""
        metadata = self._metadata()
        found = str(metadata.get("source"))
        source = next((SOURCES[name] for name in SOURCES if found.startswith(name)), None)
        if source is None:
            known = ", ".join(SOURCES)
            self.faults.append(
                ("metadata.source", f"{quoted(found)} is no source.{guess(found, SOURCES)} Known: {known}")
            )
        if reason := problem(self.row["context"]):
            self.faults.append(("context", reason))
        asked, answers = self._list("questions"), self._list("answers")
        if len(asked) != len(answers):
            self.faults.append(("answers", f"{len(answers)} answers to {len(asked)} questions"))
        if source is None or self.faults:
            return None
        name = f"{found.replace('*', '')}-{self.number}"
        limit = chunk_tokens or source.chunk_tokens
        sessions = _sessions(self.row["context"]) if source.name == "longmemeval_s" else None
        if sessions is not None:
            chunks, places = _cut_sessions(sessions, limit, count_tokens)
        else:
            chunks, places = _cut(self.row["context"], source, limit, count_tokens), {}
        types, dates = (self._aligned(metadata, each, len(asked)) for each in ("question_types", "question_dates"))
        evidence = _evidence(metadata.get("haystack_sessions"), places, len(asked))
        ids = self._ids(metadata, len(asked), name)
        keypoints = tuple(each for each in metadata.get("keypoints") or () if problem(each) is None)
        questions = []
        for place, (text, given) in enumerate(zip(asked, answers, strict=True)):
            references = self._references(place, given, source)
            if reason := problem(text):
                self.faults.append((f"questions[{place}]", reason))
            if reason or not references:
                continue
            kind = "abstention" if _abstains(metadata, place) else types[place] or source.kind
            keywords = keypoints if source.metric == "judge" else ()
            asks = source.ask(text, dates[place])
            questions.append(Question(ids[place], asks, references, source.metric, evidence[place], (), keywords, kind))
        if self.faults:
            return None
        return Episode(name, source.name, source.task, chunks, tuple(questions))

    def _metadata(self) -> dict[str, Any]:
        value = self.row["metadata"]
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                self.faults.append(("metadata", f"not JSON: {error}"))
                return {}
        if not isinstance(value, dict):
            self.faults.append(("metadata", f"expected an object, found {quoted(value)}"))
            return {}
        return value

    def _list(self, column: str) -> list[Any]:
        value = self.row[column]
        if not isinstance(value, list):
            self.faults.append((column, f"expected a list, found {quoted(value)}"))
            return []
        return value

    def _aligned(self, metadata: dict[str, Any], field: str, asked: int) -> list[str]:
        """One text per question; a list that the source does not have is null or empty."""
        value = metadata.get(field) or []
        if value and len(value) != asked:
            self.faults.append((f"metadata.{field}", f"{len(value)} entries for {asked} questions"))
        return [str(each or "") for each in value] if len(value) == asked else [""] * asked

    def _ids(self, metadata: dict[str, Any], asked: int, name: str) -> list[str]:
        """The benchmark's own ids where they fit, which older copies of the data do not grant."""
        own = metadata.get("qa_pair_ids") or []
        fits = len(own) == asked and len(set(own)) == asked and all(own)
        return [str(own[place]) if fits else f"{name}-q{place:03d}" for place in range(asked)]

    def _references(self, place: int, given: Any, source: Source) -> tuple[str, ...]:
        """What a reply is compared with, blank ones left out; none leaves the question out."""
        references: list[str] = []
        for each in given if isinstance(given, list) else [given]:
            reason = problem(each)
            if reason is None:
                references.append(each)
            elif reason != "is empty":
                self.faults.append((f"answers[{place}]", reason))
        if not references and not self.faults:
            self.left_out.append(f"question {place} of row {self.number} has no reference")
        if source.metric == "recall_at_5":
            return tuple(self._film(place, each) for each in references)
        if source.ask is _label:
            return tuple(memalpha.clean_label(each) for each in references)
        return tuple(references)

    def _film(self, place: int, reference: str) -> str:
        if not reference.strip().isdigit():
            return reference
        try:
            title = self.titles.of(reference.strip())
        except DataError as error:
            if not any(reason == str(error) for _, reason in self.faults):
                self.faults.append((f"answers[{place}]", str(error)))
            return reference
        if not title:
            self.faults.append((f"answers[{place}]", f"no film has the number {reference} in {ENTITIES}"))
        return title or reference


Turn = tuple[str, str]  # role, content


def _sessions(context: str) -> list[tuple[str, list[Turn]]] | None:
    """(date, turns) of every session: the context is a printed list, a date and its turns by turns."""
    try:
        found = ast.literal_eval(context)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        try:
            found = json.loads(context)
        except ValueError:
            return None
    if not isinstance(found, list | tuple) or not found or len(found) % 2:
        return None
    pairs = list(zip(found[::2], found[1::2], strict=True))
    if not all(isinstance(date, str) and isinstance(turns, list) for date, turns in pairs):
        return None
    if not all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for _, turns in pairs for turn in turns):
        return None
    return [
        (date.partition("Chat Time:")[2].strip() or date, [(str(turn["role"]), str(turn["content"])) for turn in turns])
        for date, turns in pairs
    ]


def _cut_sessions(
    sessions: list[tuple[str, list[Turn]]], limit: int, count_tokens: CountTokens
) -> tuple[tuple[Chunk, ...], dict[Turn, set[int]]]:
    """Chunks that begin with the date of their session, and the chunks in which each turn stands."""
    chunks: list[Chunk] = []
    places: dict[Turn, set[int]] = {}
    for date, turns in sessions:
        header = f"[Conversation on {date}]\n"
        lines = [f"{role.capitalize()}: {content.strip()}\n" for role, content in turns if content.strip()]
        spoken = [turn for turn in turns if turn[1].strip()]
        pieces = cut_text("".join(lines), max(1, limit - count_tokens(header)), count_tokens) if lines else []
        ends = list(accumulate(map(len, lines)))
        begin = 0
        for piece in pieces:
            for turn, line, end in zip(spoken, lines, ends, strict=True):
                if end - len(line) < begin + len(piece) and end > begin:
                    places.setdefault(turn, set()).add(len(chunks))
            begin += len(piece)
            chunks.append(Chunk(len(chunks), header + piece.strip(), (), date))
    return tuple(chunks), places


def _cut(context: str, source: Source, limit: int, count_tokens: CountTokens) -> tuple[Chunk, ...]:
    if source.parts is None:
        pieces = cut_text(context, limit, count_tokens)
    else:
        pieces = cut_parts(source.parts(context), limit, count_tokens)
    texts = [piece.strip() for piece in pieces if piece.strip()]
    return tuple(Chunk(t, text) for t, text in enumerate(texts))


def _evidence(haystack: Any, places: dict[Turn, set[int]], asked: int) -> list[tuple[int, ...]]:
    """The chunks of the turns that hold the answer, for each question; of other sources none are known."""
    if not places or not haystack or len(haystack) != asked:
        return [()] * asked
    return [
        tuple(
            sorted(
                {
                    place
                    for session in sessions or ()
                    for turn in session or ()
                    if isinstance(turn, dict) and turn.get("has_answer")
                    for place in places.get((str(turn.get("role")), str(turn.get("content"))), ())
                }
            )
        )
        for sessions in haystack
    ]


def _abstains(metadata: dict[str, Any], place: int) -> bool:
    """LongMemEval marks a question that cannot be answered by the end of its id."""
    ids = metadata.get("question_ids") or []
    return place < len(ids) and str(ids[place]).endswith("_abs")
