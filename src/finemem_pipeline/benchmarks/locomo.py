"""LoCoMo (Maharana et al., arXiv 2402.17753): locomo10.json, ten long conversations. One of them, shortened:

    {"sample_id": "conv-26",
     "conversation": {"speaker_a": "Caroline", "speaker_b": "Melanie", "session_1_date_time": "1:56 pm on 8 May, 2023",
                      "session_1": [{"speaker": "Caroline", "dia_id": "D1:1", "text": "Hey Mel!"},
                                    {"speaker": "Melanie", "dia_id": "D1:2", "text": "Look", "blip_caption": "a dog"}]},
     "qa": [{"question": "When did they meet?", "answer": "7 May 2023", "evidence": ["D1:3"], "category": 2},
            {"question": "What did Mel realize?", "adversarial_answer": "it works", "evidence": [], "category": 5}]}

One chunk is one session; evidence is the sessions of the named turns. As in the paper, a question about time (2) is
answered by an approximate date, of an answer to an open question (3) what follows a semicolon is dropped, and a
question that the conversation does not answer (5) is asked as a choice and right if the reply says so. The paper's F1
stems words and takes an answer to several hops (1) apart at its commas; `token_f1` does neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finemem_pipeline.benchmarks import hub
from finemem_pipeline.benchmarks.faults import Fault, guess, listing, problem, quoted, report
from finemem_pipeline.benchmarks.parquet import stand_in
from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.errors import DataError
from finemem_pipeline.reasoning.asking import instructed

FILE = "locomo10.json"
REMEDY = f"Get the real file (2.8 MB): data/{FILE} of https://github.com/snap-research/locomo, by 'Download raw file'."

KINDS = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}
NOT_TOLD = ("not mentioned", "no information available")
"""A reply that holds either says that the conversation does not tell."""

_SESSION = re.compile(r"session_(\d+)")
_TURN = re.compile(r"D:?\s*(\d+)\s*:\s*(\d+)")  # D8:6, and the slips D:8:6 and D08:06


def load(path: str | Path, split: str) -> Iterator[Episode]:
    """The conversations of `path/locomo10.json` for the split `test`, or of `path` itself if it is a file.

    The whole file is checked before the first stream is given out. Raises DataError naming every bad field.
    """
    [file] = find(path, split)
    samples = _parse(file)
    streams: list[Episode] = []
    faults: list[Fault] = []
    for number, sample in enumerate(samples, start=1):
        read = _Sample(sample, number)
        stream = read.episode()
        faults.extend(Fault(number, *each) for each in read.faults)
        if stream is not None:
            streams.append(stream)
    if faults:
        raise DataError(report(file, faults))
    return iter(streams)


def find(path: str | Path, split: str) -> list[Path]:
    """The file. Raises DataError naming what is there, or what to do for a split that LoCoMo does not have."""
    base = hub.resolve(path, [f"*{FILE}"])
    if base.is_file():
        return [base]
    if split != "test":
        raise DataError(
            f"{path}: LoCoMo has no split '{split}'. Name the file itself, {base / FILE}, to have its conversations "
            "divided, or evaluate on the folder (evaluation.source and evaluation.path)."
        )
    for place in (base / FILE, base / "data" / FILE):
        if place.is_file():
            return [place]
    there = sorted(each.name for each in base.iterdir())
    raise DataError(f"{path}: no {FILE}.{guess(FILE, there)}{listing(base, there)} {REMEDY}")


def _parse(file: Path) -> list[Any]:
    try:
        if found := stand_in(file):
            raise DataError(f"{file}: {found}. {REMEDY}")
        samples = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}.") from error
    except RecursionError as error:
        raise DataError(f"{file}: not usable JSON: nested too deeply. {REMEDY}") from error
    except ValueError as error:
        size = file.stat().st_size
        raise DataError(f"{file}: not JSON, or cut off: {error}; the file has {size:,} bytes. {REMEDY}") from error
    if not isinstance(samples, list) or not samples:
        raise DataError(f"{file}: expected a list of conversations, found {quoted(samples)}. {REMEDY}")
    return samples


class _Sample:
    """One conversation on its way to an episode, and what is wrong with it."""

    def __init__(self, sample: Any, number: int) -> None:
        self.sample = sample
        self.number = number
        self.faults: list[tuple[str, str]] = []  # (field, reason)

    def episode(self) -> Episode | None:
        """The stream, unless there are faults."""
        if not isinstance(self.sample, dict):
            self.faults.append(("", f"expected an object, found {quoted(self.sample)}"))
            return None
        missing = [name for name in ("conversation", "qa") if name not in self.sample]
        self.faults.extend((name, "is missing") for name in missing)
        name = f"locomo-{self.sample.get('sample_id', self.number)}"
        chunks, places = self._chunks() if "conversation" not in missing else ((), {})
        questions = self._questions(name, places) if "qa" not in missing else ()
        return None if self.faults else Episode(name, "locomo", "AR", chunks, questions)

    def _chunks(self) -> tuple[tuple[Chunk, ...], dict[int, int]]:
        """One chunk per session, and the place of each session number: dates may stand there without a session."""
        conversation = self.sample["conversation"]
        if not isinstance(conversation, dict):
            self.faults.append(("conversation", f"expected an object, found {quoted(conversation)}"))
            return (), {}
        chunks: list[Chunk] = []
        places: dict[int, int] = {}
        found = ((int(name[1]), name[0]) for name in map(_SESSION.fullmatch, conversation) if name)
        for number, field in sorted(found):
            turns = conversation[field]
            if not isinstance(turns, list):
                self.faults.append((f"conversation.{field}", f"expected a list of turns, found {quoted(turns)}"))
                continue
            lines = [line for place, turn in enumerate(turns) if (line := self._line(f"{field}[{place}]", turn))]
            if not lines:
                continue
            when = str(conversation.get(f"{field}_date_time") or "").strip() or None
            header = f"[Conversation on {when}]\n" if when else ""
            places[number] = len(chunks)
            chunks.append(Chunk(len(chunks), header + "\n".join(lines), (), when))
        if not chunks and not self.faults:
            self.faults.append(("conversation", "holds no session_1, session_2, … with turns"))
        return tuple(chunks), places

    def _line(self, field: str, turn: Any) -> str:
        if not isinstance(turn, dict):
            self.faults.append((f"conversation.{field}", f"expected an object, found {quoted(turn)}"))
            return ""
        said = turn.get("text") or ""
        caption = turn.get("blip_caption") or ""
        wrong = [
            (name, problem(value))
            for name, value in (("speaker", turn.get("speaker")), ("text", said), ("blip_caption", caption))
            if value != "" and problem(value)
        ]
        self.faults.extend((f"conversation.{field}.{name}", str(reason)) for name, reason in wrong)
        if wrong or not f"{said}{caption}".strip():
            return ""
        photo = f"[shares a photo: {caption.strip()}]" if caption else ""
        return f"{turn['speaker']}: {' '.join(part for part in (said.strip(), photo) if part)}"

    def _questions(self, name: str, places: dict[int, int]) -> tuple[Question, ...]:
        asked = self.sample["qa"]
        if not isinstance(asked, list):
            self.faults.append(("qa", f"expected a list, found {quoted(asked)}"))
            return ()
        questions = []
        for place, found in enumerate(asked):
            question = self._question(f"{name}-q{place:03d}", f"qa[{place}]", found, places)
            if question is not None:
                questions.append(question)
        return tuple(questions)

    def _question(self, name: str, field: str, found: Any, places: dict[int, int]) -> Question | None:
        if not isinstance(found, dict):
            self.faults.append((field, f"expected an object, found {quoted(found)}"))
            return None
        text: Any = found.get("question")
        category: Any = found.get("category")
        wrong = [(f"{field}.question", reason)] if (reason := problem(text)) else []
        if not isinstance(category, int) or category not in KINDS:
            wrong.append((f"{field}.category", f"expected 1 to 5, found {quoted(category)}"))
        answer: Any = found.get("adversarial_answer" if category == 5 else "answer")
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = str(answer)  # years, some of them
        if category != 5 and (reason := problem(answer)):
            wrong.append((f"{field}.answer", reason if "answer" in found else "is missing"))
        if wrong:
            self.faults.extend(wrong)
            return None
        kind = KINDS[category]
        evidence = _evidence(found.get("evidence"), places)
        if category == 5:
            return Question(name, _choice(text, answer, name), NOT_TOLD, "sub_em", evidence, kind=kind)
        if category == 2:
            text = instructed(text, "Give an approximate date, worked out from the date of the conversation.")
        if category == 3:
            answer = answer.partition(";")[0].strip() or answer
        return Question(name, text, (answer,), "token_f1", evidence, kind=kind)


def _evidence(named: Any, places: dict[int, int]) -> tuple[int, ...]:
    """The sessions of the turns named. Several may stand in one text, some lead nowhere: those are passed over."""
    texts = named if isinstance(named, list) else [named]
    sessions = (int(turn[1]) for text in texts for turn in _TURN.finditer(str(text)))
    return tuple(sorted({places[session] for session in sessions if session in places}))


def _choice(question: str, wrong: Any, name: str) -> str:
    """The question with both choices; which comes first changes from question to question."""
    choices = ["Not mentioned in the conversation", str(wrong).strip()] if problem(wrong) is None else []
    if not choices:
        return instructed(question, 'If the conversation does not tell, say "Not mentioned in the conversation".')
    first, second = choices if int(name.rsplit("q", 1)[1]) % 2 else choices[::-1]
    return instructed(question, f"Reply with one of these two: (a) {first} (b) {second}")
