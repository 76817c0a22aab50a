r"""Memalpha, the data that Mem-α is trained and validated on (Wang et al., arXiv 2509.25911).

It comes as train.parquet and test.parquet. A row, shortened; three of its columns are JSON in a text:

    instance_id            17
    data_source            "perltqa"
    chunks                 '["[Dialogue between User and Assistant on 2024-01-01 00:00]\n<User>…", …]'
    questions_and_answers  '[{"question": "Who invited Xiaohong?", "answer": "Wang Wei; her sister"}, …]'
    metadata               '{}'
    prompt, num_chunks, num_questions

Of an answer that is a list every reference is kept, in order: the published scorer knows the first alone. Evidence is
not in the released rows. The files have no dev set: where no dev.parquet lies beside them, every tenth stream of a
source is held out of train, so that nothing is chosen on the test set.

MemoryAgentBench as Mem-α converted it (memoryagentbench.py) has the same columns and more sources.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finemem_pipeline.benchmarks import hub, parquet
from finemem_pipeline.benchmarks.faults import Fault, guess, listing, problem, quoted, settled
from finemem_pipeline.episodes import Chunk, Episode, Question, Task
from finemem_pipeline.errors import DataError

NEEDED = ("instance_id", "chunks", "questions_and_answers", "data_source")
OPTIONAL = ("metadata", "num_chunks", "num_questions")
REMEDY = f"Get the real file (62 MB in all): {hub.download_command('YuWangX/Memalpha')}."

EVERY, HELD = 10, 4
"""Of ten streams of a source, the one that is held out for dev: the fifth."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """What a data_source stands for."""

    name: str  # the column of the published tables
    task: Task
    metric: str
    kind: str = ""


SOURCES = {  # by the beginning of data_source: the released names go on with lengths and numbers of examples
    "squad": Source("squad", "AR", "sub_em"),
    "hotpotqa": Source("hotpotqa", "AR", "sub_em"),
    "perltqa": Source("perltqa", "AR", "perltqa"),
    "lme_train": Source("lme_train", "AR", "judge"),
    "pubmed-rct": Source("pubmed-rct", "TTL", "digit_label"),
    "icl_nlu": Source("nlu", "TTL", "digit_label"),
    "icl_trec_coarse": Source("trec_coarse", "TTL", "digit_label"),
    "booksum": Source("booksum", "LRU", "keyword_recall"),
    # MemoryAgentBench as Mem-α converted it
    "icl_banking77": Source("banking77", "TTL", "digit_label"),
    "icl_clinic150": Source("clinic150", "TTL", "digit_label"),
    "icl_trec_fine": Source("trec_fine", "TTL", "digit_label"),
    "infbench_sum": Source("infbench_sum", "LRU", "keyword_recall"),
    "longmemeval_s": Source("longmemeval_s", "AR", "judge"),
    "ruler_qa1": Source("ruler_qa1", "AR", "ruler", "single_hop"),
    "ruler_qa2": Source("ruler_qa2", "AR", "ruler", "multi_hop"),
}


def load(path: str | Path, split: str) -> Iterator[Episode]:
    """The streams of `<path>/<split>.parquet`, of a data set of the hub, or of `path` itself if it is a file.

    All files of the split are checked before the first stream is given out. Raises DataError naming every bad row with
    file, row, column and reason; logs what had to be left out: blank chunks, questions without a reference.
    """
    files = find(path, split)
    streams = read_files(files, REMEDY)
    if Path(path).is_file() or not _divided(files, split):
        return iter(streams)
    held = _held_out(streams)
    chosen = [stream for stream, out in zip(streams, held, strict=True) if out == (split == "dev")]
    if not chosen:
        raise DataError(
            f"{files[0].parent}: no dev.parquet, and no source of {files[0].name} has {HELD + 1} streams to hold one "
            "out for it. Put a dev.parquet beside it."
        )
    return iter(chosen)


def find(path: str | Path, split: str) -> list[Path]:
    """The files of a split; dev is part of train unless it has its own. Raises DataError naming what is there."""
    base = hub.resolve(path, ["*.parquet"])
    if base.is_file():
        return [base]
    found = hub.find(base, split) or (hub.find(base, "train") if split == "dev" else [])
    if not found:
        there = sorted(each.name for each in base.iterdir())
        raise DataError(f"{path}: no {split}.parquet.{guess(f'{split}.parquet', there)}{listing(base, there)} {REMEDY}")
    return found


def read_files(files: Iterable[Path], remedy: str) -> list[Episode]:
    """Every stream of the files. Raises DataError with the bad rows of all of them."""
    streams: list[Episode] = []
    wrong: list[str] = []
    for file in files:
        try:
            streams.extend(_read_file(file, remedy))
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError("\n".join(wrong))
    return streams


def label_question(text: str) -> str:
    r"""The question after a label in the one form that readers and retrievers know: the item, then what is asked.

    "Sentence: Ten died.\nWhat are the labels for the above sentence? Put your final answer in \boxed{}." keeps its
    first line; how the label is wrapped is left to the scorer.
    """
    lines = text.strip().splitlines()
    asks = next((place for place in range(1, len(lines)) if _ASKS_LABEL.search(lines[place])), len(lines))
    item = _ITEM.sub("", _TAIL.sub("", "\n".join(lines[:asks]))).strip() or text.strip()
    return f"Sentence: {item}\nWhich label number does this sentence get? Answer with the number only."


def clean_label(text: str) -> str:
    r"""A gold label without the \boxed{} and the quotes that some carry."""
    boxed = _BOXED.fullmatch(text.strip())
    return (boxed[1] if boxed else text).strip().strip("\"'").strip()


def keywords_of(gold: str | list[str]) -> tuple[str, ...]:
    """The keywords of a gold that is a list or a text with commas: no blanks around, no empty or repeated ones."""
    parts = gold if isinstance(gold, list) else _COMMAS.split(gold.strip().removeprefix("[").removesuffix("]"))
    first: dict[str, str] = {}  # by its lower case
    for part in parts:
        if word := part.strip(" \t\r\n\"'“”.*•-"):
            first.setdefault(word.lower(), word)
    return tuple(first.values())


_ASKS_LABEL = re.compile(r"\b(what|which) (is|are) the labels?\b|final answer|\\boxed|<answer>|only output", re.I)
_ITEM = re.compile(r"^\s*(sentence|question|query|sample|text)\s*:\s*", re.I)
_TAIL = re.compile(r"\s*\blabels?\s*:\s*$", re.I)
_BOXED = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)
_SHARD = re.compile(r"-\d+-of-\d+$")
_COMMAS = re.compile(r"[,;\n]")
_DATE = re.compile(
    r"\[(?:Dialogue between User and Assistant on|Dialogue at timestamp|Event happened on)\s+"
    r"(?P<date>[\d/-]+(?:\s+\(\w+\))?(?:\s+\d{1,2}:\d{2}(?::\d{2})?)?)",
    re.I,
)


def _divided(files: list[Path], split: str) -> bool:
    """Whether train and dev share these files."""
    if split not in {"train", "dev"} or not files[0].name.startswith("train"):
        return False
    return not hub.find(files[0].parent, "dev")


def _held_out(streams: list[Episode]) -> list[bool]:
    seen: dict[str, int] = {}
    held = []
    for stream in streams:
        place = seen.get(stream.source, 0)
        seen[stream.source] = place + 1
        held.append(place % EVERY == HELD)
    return held


def _read_file(file: Path, remedy: str) -> list[Episode]:
    part = _SHARD.sub("", file.stem)
    streams: list[Episode] = []
    faults: list[Fault] = []
    left_out: list[str] = []
    rows: dict[str, int] = {}  # instance id -> its row
    for number, row in parquet.read_rows(file, NEEDED, OPTIONAL, remedy):
        read = _Row(row, part)
        name = str(row["instance_id"])
        if name in rows:
            read.faults.append(("instance_id", f"{name} already stands in row {rows[name]}"))
        rows.setdefault(name, number)
        stream = read.episode()
        faults.extend(Fault(number, *each) for each in read.faults)
        left_out.extend(read.left_out)
        if stream is not None:
            streams.append(stream)
    return settled(file, streams, faults, left_out, remedy)


class _Row:
    """One row on its way to an episode: what is wrong with it, and what is left out of it."""

    def __init__(self, row: dict[str, Any], part: str) -> None:
        self.row = row
        self.part = part
        self.faults: list[tuple[str, str]] = []  # (column, reason)
        self.left_out: list[str] = []

    def episode(self) -> Episode | None:
        """The stream, unless there are faults."""
        found = self.row["data_source"]
        source = next((SOURCES[name] for name in SOURCES if str(found).startswith(name)), None)
        if source is None:
            known = ", ".join(SOURCES)
            self.faults.append(
                ("data_source", f"{quoted(found)} is no source.{guess(str(found), SOURCES)} Known: {known}")
            )
        name = f"{source.name if source else found}-{self.part}-{self.row['instance_id']}"
        texts = self._texts(name)
        asked = self._list("questions_and_answers", "num_questions")
        if source is None:
            return None
        types = self._types(len(asked))
        questions = [
            question
            for place, each in enumerate(asked)
            if (question := self._question(name, place, each, source, types)) is not None
        ]
        if self.faults:
            return None
        chunks = tuple(Chunk(t, text, (), _date(text)) for t, text in enumerate(texts))
        return Episode(name, source.name, source.task, chunks, tuple(questions))

    def _texts(self, name: str) -> list[str]:
        texts = []
        for place, text in enumerate(self._list("chunks", "num_chunks")):
            reason = problem(text)
            if reason == "is empty":
                self.left_out.append(f"chunk {place} of {name} is blank")
            elif reason:
                self.faults.append((f"chunks[{place}]", reason))
            else:
                texts.append(text)
        if not texts and not self.faults:
            self.faults.append(("chunks", "holds no text"))
        return texts

    def _list(self, column: str, counted: str) -> list[Any]:
        """The list of a column that should be JSON in a text, or is a list already."""
        value = self.row[column]
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except RecursionError:
                self.faults.append((column, "not usable JSON: nested too deeply"))
                return []
            except ValueError as error:
                self.faults.append((column, f"not JSON: {error}"))
                return []
        if not isinstance(value, list):
            self.faults.append((column, f"expected a list in JSON, found {quoted(value)}"))
            return []
        count = self.row.get(counted)
        if count is not None and count != len(value):
            self.faults.append((column, f"holds {len(value)}, but {counted} says {count}"))
        return value

    def _types(self, asked: int) -> list[str]:
        """LongMemEval's types of question where the metadata still has them: the judge's rubric depends on them."""
        try:
            metadata = json.loads(self.row.get("metadata") or "{}")
        except (TypeError, ValueError):
            metadata = {}
        types = metadata.get("question_types") if isinstance(metadata, dict) else None
        fits = isinstance(types, list) and len(types) == asked and all(isinstance(each, str) for each in types)
        return types if fits and types else [""] * asked

    def _question(self, name: str, place: int, found: Any, source: Source, types: list[str]) -> Question | None:
        where = f"questions_and_answers[{place}]"
        if not isinstance(found, dict):
            self.faults.append((where, f"expected an object, found {quoted(found)}"))
            return None
        wrong = [(f"{where}.{field}", "is missing") for field in ("question", "answer") if field not in found]
        if not wrong and (reason := problem(found["question"])):
            wrong.append((f"{where}.question", reason))
        answers, reasons = _references(found.get("answer"))
        wrong += [(f"{where}.answer{at}", reason) for at, reason in reasons]
        if wrong:
            self.faults.extend(wrong)
            return None
        text: str = found["question"]
        keywords: tuple[str, ...] = ()
        if source.metric == "digit_label":
            text, answers = (
                label_question(text),
                list(dict.fromkeys(label for label in map(clean_label, answers) if label)),
            )
        elif source.metric == "keyword_recall":
            keywords = keywords_of(answers if isinstance(found["answer"], list) else ", ".join(answers))
            answers = [", ".join(answers)] if keywords else []
        elif source.metric == "perltqa":
            answers = ["; ".join(answers)] if answers else []
        if not answers:
            self.left_out.append(f"question {place} of {name} has no reference")
            return None
        kind = types[place] or source.kind
        return Question(f"{name}-q{place:03d}", text, tuple(answers), source.metric, (), (), keywords, kind)


def _references(answer: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """The references of an answer, blank ones left out, and (place, reason) of what is no reference."""
    given = answer if isinstance(answer, list) else [answer]
    references, wrong = [], []
    for place, each in enumerate(given):
        value = each.get("text", each) if isinstance(each, dict) else each
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        reason = problem(value)
        if reason is None:
            references.append(value)
        elif reason != "is empty":
            wrong.append((f"[{place}]" if isinstance(answer, list) else "", reason))
    return references, wrong


def _date(text: str) -> str | None:
    """The date in the header of a chunk."""
    found = _DATE.match(text.lstrip())
    return found["date"] if found else None
