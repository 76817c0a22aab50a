"""Made-up streams whose writer steps are known. A chunk of one, and two of the questions after the last chunk:

    Greta's workshop is always a mess.
    Hugo's spare key is under the doormat.
    Greta fell asleep on the train.
    Greta's train leaves at 06:20.
    Hugo says no project ever ends.

    When does Greta's train leave?    06:20
    Where does Hugo keep the spare key?    behind the ivy    (moved in chunk 2: evidence 2, stale 0)

A statement is made once, unless repeats are asked for, and its value stands nowhere else in the stream. Some facts are
corrected by a later chunk; the final question then wants the new value and names the old chunk as stale. Some facts are
links ("Maria runs the Falcon project"): they are asked about through a fact of the thing ("The Falcon project is due on
March 14"), so the question needs both chunks. Every statement is also asked about right after its chunk, in other words
and with the value of that moment. Train and dev draw from the first 70 % of every word list, test from the last 60 %.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from finemem_pipeline.benchmarks import planted_words
from finemem_pipeline.benchmarks.planted_words import FAMILIES, IDLE, LINKS, PEOPLE, TOPICS, VALUES, Link, Topic
from finemem_pipeline.benchmarks.realbench import read_episodes, write_episodes
from finemem_pipeline.beside import beside
from finemem_pipeline.episodes import Chunk, Episode, Question, Task
from finemem_pipeline.errors import DataError, unknown

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class PlantedSpec:
    """What to generate. Raises DataError naming every field that is out of range."""

    train: int = 256  # streams
    dev: int = 16
    test: int = 32
    chunks: int | tuple[int, int] = 3  # T, or its smallest and largest value
    facts_per_chunk: int = 2  # statements worth keeping, corrections included
    distractors_per_chunk: int = 3  # sentences that are not
    corrections: float = 0.2  # share of the facts that a later chunk corrects
    two_step: float = 0.1  # share of the facts that are links, and so of the questions that need two chunks
    repeats: float = 0.0  # share of the facts that a later chunk states again, in other words
    stated_in: float = 1.0  # facts stand in this first part of the chunks; the others hold distractors alone
    questions: int | None = None  # final questions at most; None: all
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.chunks, list | tuple):
            object.__setattr__(self, "chunks", tuple(self.chunks))
        faults = list(self._faults())
        if faults:
            raise DataError("\n".join(f"planted.{fault}" for fault in faults))

    def _faults(self) -> Iterator[str]:
        for name in (*SPLITS, "facts_per_chunk"):
            if _whole(getattr(self, name)) < 1:
                yield f"{name}: found {getattr(self, name)!r}, expected a whole number from 1."
        for name in ("distractors_per_chunk", "seed"):
            if _whole(getattr(self, name)) < 0:
                yield f"{name}: found {getattr(self, name)!r}, expected a whole number from 0."
        if self.questions is not None and _whole(self.questions) < 1:
            yield f"questions: found {self.questions!r}, expected a whole number from 1, or nothing for all."
        shares = {"corrections": 1.0, "two_step": 0.5, "repeats": 1.0, "stated_in": 1.0}
        bad = {name for name in shares if not 0 <= _number(getattr(self, name)) <= shares[name]}
        for name in sorted(bad):
            yield f"{name}: found {getattr(self, name)!r}, expected a share from 0 to {shares[name]:g}."
        if not bad and self.corrections + self.two_step > 1:
            yield (
                f"corrections and two_step: found {self.corrections:g} + {self.two_step:g}, expected 1 at most "
                "together: a link is never corrected."
            )
        bounds = self.chunks if isinstance(self.chunks, tuple) else (self.chunks, self.chunks)
        low, high = (_whole(bounds[0]), _whole(bounds[1])) if len(bounds) == 2 else (-1, -1)
        if not 1 <= low <= high:
            yield f"chunks: found {self.chunks!r}, expected a whole number from 1, or the smallest and the largest."
        elif high * _whole(self.facts_per_chunk) > CAPACITY:
            yield (
                f"chunks and facts_per_chunk: found {high} × {self.facts_per_chunk} statements in a stream, "
                f"the word lists keep {CAPACITY} apart."
            )


def _whole(value: object) -> int:
    """The number itself; -1 for what is no whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _number(value: object) -> float:
    """The number itself; -1 for what is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else -1


def generate(spec: PlantedSpec, split: str) -> Iterator[Episode]:
    """The streams of a split. Stream i depends on the sizes of no split: a larger set begins with the smaller one."""
    if split not in SPLITS:
        raise DataError(unknown("planted", split, SPLITS, "split"))
    for number in range(getattr(spec, split)):
        yield _Stream(spec, split, number).episode()


def write(folder: str | Path, spec: PlantedSpec) -> None:
    """Put train, dev and test into a folder, with spec.json beside them; does nothing if they are there already.

    spec.json holds the digests of the files, so streams of another spec, and what a killed run left, are written again.
    Raises DataError for a folder with streams that were not generated here.
    """
    folder = Path(folder)
    made = {"spec": json.loads(json.dumps(asdict(spec))), "generator": _generator()}
    if _complete(folder, made):
        return
    strange = [] if (folder / "spec.json").is_file() else sorted(each.name for each in folder.glob("*.jsonl*"))
    if strange or folder.is_file():
        raise DataError(
            f"{folder}: holds {', '.join(strange) or 'data'} that planted streams would replace. Choose another folder "
            "for them, or name the loader of these streams (data.source)."
        )
    _mark(folder, {**made, "sha256": {}})
    for split in SPLITS:
        write_episodes(folder / f"{split}.jsonl.gz", generate(spec, split))
    _mark(folder, {**made, "sha256": {split: _digest(folder / f"{split}.jsonl.gz") for split in SPLITS}})


def load(path: str | Path, split: str) -> Iterator[Episode]:
    """The streams of a folder that `write` made. Raises DataError if it is not complete."""
    folder = Path(path)
    file = folder / f"{split}.jsonl.gz"
    if split not in SPLITS:
        raise DataError(unknown(f"{folder}", split, SPLITS, "split"))
    try:
        expected = json.loads((folder / "spec.json").read_text())["sha256"][split]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder}: no planted streams here (spec.json is missing or damaged); generate them first."
        ) from error
    if not file.is_file() or _digest(file) != expected:
        raise DataError(
            f"{file}: not the file that spec.json tells of; remove {folder} and generate the streams again."
        )
    return iter(read_episodes(file))


def _complete(folder: Path, made: dict[str, Any]) -> bool:
    try:
        found = json.loads((folder / "spec.json").read_text())
        same = all(found[part] == made[part] for part in made)
        return same and all(found["sha256"][split] == _digest(folder / f"{split}.jsonl.gz") for split in SPLITS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _mark(folder: Path, made: dict[str, Any]) -> None:
    with beside(folder / "spec.json") as part:
        part.write_text(json.dumps(made, indent=2) + "\n")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _generator() -> str:
    """Digest of this module and its words: another generator makes other streams from the same spec."""
    sources = [Path(__file__), Path(planted_words.__file__)]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


@cache
def _pool(name: str, split: str) -> tuple[str, ...]:
    """The words a split may use, in an order of their own."""
    words = list({"people": PEOPLE, "families": FAMILIES}.get(name) or VALUES[name])
    random.Random(f"planted words, {name}").shuffle(words)
    return tuple(words[int(0.4 * len(words)) :] if split == "test" else words[: math.ceil(0.7 * len(words))])


def _count_apart() -> int:
    """How many statements one stream can hold at least, in the narrowest split: codes are what lasts longest."""
    people = len(_pool("people", "test")) * len(_pool("families", "test"))
    return min(len(_pool("code", "test")), people * sum(topic.values == "code" for topic in TOPICS))


CAPACITY = _count_apart()


_LATER = ("repeats", "stated_in")  # where they are at their default, streams are those from before they were there


@dataclass(slots=True)
class _Fact:
    """One thing to know, with everything that was said about it."""

    who: str
    topic: Topic | Link
    said: list[tuple[int, str]]  # (chunk, value), oldest first
    again: tuple[int, ...] = ()  # later chunks that state the last value once more
    owner: str = ""  # of a thing: the person its link names
    link: int | None = None  # of a thing: the chunk of its link


class _Stream:
    """One stream in the making: slots for statements are laid out, then filled, then worded."""

    def __init__(self, spec: PlantedSpec, split: str, number: int) -> None:
        self.spec, self.split = spec, split
        self.id = f"planted-{spec.seed}-{split}-{number:04d}"
        sizes = {
            field.name: getattr(spec, field.name)
            for field in fields(spec)
            if field.name not in SPLITS and (field.name not in _LATER or getattr(spec, field.name) != field.default)
        }
        self.rng = random.Random(json.dumps([sizes, split, number]))
        low, high = spec.chunks if isinstance(spec.chunks, tuple) else (spec.chunks, spec.chunks)
        self.steps = self.rng.randint(low, high)
        stating = max(1, math.ceil(spec.stated_in * self.steps))  # the first so many chunks
        self.slots = [step for step in range(stating) for _ in range(spec.facts_per_chunk)]  # slot -> chunk
        self.cast = self._people(max(2, math.ceil(len(self.slots) / 2)))
        self.values: dict[str, list[str]] = {}  # not used yet, by pool
        self.known: set[tuple[str, str]] = set()  # (who, topic) already stated
        self.ids = 0

    def episode(self) -> Episode:
        facts = self._facts()
        self._repeat(facts)
        lines: list[list[str]] = [[] for _ in range(self.steps)]
        own: list[list[Question]] = [[] for _ in range(self.steps)]
        for fact in facts:
            for turn, (step, value) in enumerate(fact.said):
                corrects = fact.topic.corrects if turn and isinstance(fact.topic, Topic) else ()
                lines[step].append(self._pick(corrects or fact.topic.says).format(who=fact.who, value=value))
                text = self._pick(fact.topic.asks_now).format(who=fact.who)
                until = next((later for later, new in fact.said[turn + 1 :] if new != value), None)
                own[step].append(
                    Question(self._id("k"), text, (value,), evidence=(step,), kind=fact.topic.kind, until=until)
                )
            for step in fact.again:
                lines[step].append(self._pick(fact.topic.says).format(who=fact.who, value=fact.said[-1][1]))
        self._chatter(facts, lines)
        final = [question for fact in facts for question in self._final(fact)]
        self.rng.shuffle(final)
        chunks = []
        for step in range(self.steps):
            self.rng.shuffle(lines[step])
            chunks.append(Chunk(step, "\n".join(lines[step]), tuple(own[step])))
        task: Task = "CR" if any(question.stale for question in final) else "AR"
        return Episode(self.id, "planted", task, tuple(chunks), tuple(final[: self.spec.questions]))

    def _facts(self) -> list[_Fact]:
        """Facts with their chunks and values, in the order of their first slot."""
        corrections, links = self._layout()
        chunks = {slot: [self.slots[slot]] for slot in range(len(self.slots)) if slot not in corrections}
        for slot, corrected in corrections.items():
            chunks[corrected].append(self.slots[slot])
        facts: dict[int, _Fact] = {}  # by the slot of the first statement
        for link, thing in links.items():
            facts[link], facts[thing] = self._linked(chunks[link], chunks[thing])
        for slot in sorted(chunks.keys() - facts.keys()):
            facts[slot] = self._plain(chunks[slot])
        return [facts[slot] for slot in sorted(facts)]

    def _layout(self) -> tuple[dict[int, int], dict[int, int]]:
        """{slot of a correction: slot it corrects}, {slot of a link: slot of its thing}."""
        free = list(range(len(self.slots)))
        self.rng.shuffle(free)
        late = [slot for slot in free if self.slots[slot] > 0]
        share = self.spec.corrections / (1 + self.spec.corrections)  # of statements: a corrected fact has two
        wanted = set(late[: self._round(share * len(free))])
        free = [slot for slot in free if slot not in wanted]
        links: dict[int, int] = {}
        for _ in range(self._round(self.spec.two_step * len(free))):
            apart = [slot for slot in free[:-1] if self.steps == 1 or self.slots[slot] != self.slots[free[-1]]]
            if not apart:
                break  # a pair needs two chunks, where there are two
            room = Counter(self.slots[slot] for slot in free)
            link = free.pop()
            links[link] = max(apart, key=lambda slot: room[self.slots[slot]])  # else the last ones lie in one chunk
            free.remove(links[link])
        corrections: dict[int, int] = {}
        open_to_change = free + list(links.values())
        for slot in sorted(wanted):
            earlier = [each for each in open_to_change if self.slots[each] < self.slots[slot]]
            if earlier:
                corrections[slot] = self._pick(earlier)
                open_to_change.remove(corrections[slot])
        return corrections, links

    def _plain(self, chunks: list[int]) -> _Fact:
        """A fact about somebody: the kind first, so that all kinds are as frequent as their words last."""
        kinds = sorted({topic.kind for topic in TOPICS})
        self.rng.shuffle(kinds)
        for kind in kinds:
            topics = [topic for topic in TOPICS if topic.kind == kind and self._left(topic.values) >= len(chunks)]
            self.rng.shuffle(topics)
            for topic in topics:
                strangers = [who for who in self.cast if (who, topic.name) not in self.known]
                if strangers:
                    return self._state(self._pick(strangers), topic, chunks)
        raise RuntimeError(f"{self.id}: the word lists are used up after {len(self.known)} facts")

    def _linked(self, chunks: list[int], thing_chunks: list[int]) -> tuple[_Fact, _Fact]:
        """A link and a fact of its thing; two plain facts where a long stream has used up all links."""
        fitting = [
            (link, thing)
            for link in LINKS
            for thing in link.things
            if self._left(link.values) and self._left(thing.values) >= len(thing_chunks)
        ]
        owners = [(who, *each) for each in fitting for who in self.cast if (who, each[0].name) not in self.known]
        if not owners:
            return self._plain(chunks), self._plain(thing_chunks)
        who, link, topic = self._pick(owners)
        first = self._state(who, link, chunks)
        second = self._state(first.said[0][1], topic, thing_chunks)
        second.owner, second.link = who, chunks[0]
        return first, second

    def _state(self, who: str, topic: Topic | Link, chunks: list[int]) -> _Fact:
        """The fact with a new value for every chunk that states it."""
        self.known.add((who, topic.name))
        return _Fact(who, topic, [(chunk, self._draw(self.values[topic.values])) for chunk in chunks])

    def _repeat(self, facts: list[_Fact]) -> None:
        """Chooses the facts that are stated again, and where."""
        if not self.spec.repeats:
            return
        for fact in facts:
            later = range(fact.said[-1][0] + 1, self.steps)
            if later and self.rng.random() < self.spec.repeats:
                fact.again = (self._pick(later),)

    def _final(self, fact: _Fact) -> Iterator[Question]:
        """The questions after the last chunk. A link has none of its own: its thing's second question stands for it."""
        if isinstance(fact.topic, Link):
            return
        step, value = fact.said[-1]
        stale = tuple(sorted({earlier for earlier, _ in fact.said[:-1]}))
        text = self._pick(fact.topic.asks).format(who=fact.who)
        where = (step, *fact.again)
        yield Question(self._id("q"), text, (value,), evidence=where, stale=stale, kind=fact.topic.kind)
        if fact.link is not None:
            text = self._pick(fact.topic.asks_through).format(who=fact.owner)
            both = tuple(sorted({*where, fact.link}))
            yield Question(self._id("q"), text, (value,), evidence=both, stale=stale, kind="two_step")

    def _chatter(self, facts: list[_Fact], lines: list[list[str]]) -> None:
        """Distractors: mostly about what the stream states somewhere, by the same person or another of the cast."""
        said: set[str] = set()
        for step in range(self.steps):
            for _ in range(self.spec.distractors_per_chunk):
                for _ in range(8):  # the same sentence twice is dull; in a very long stream it may happen
                    fact = self._pick(facts)
                    who = fact.owner or fact.who
                    if self.rng.random() < 0.35:
                        who = self._pick(self.cast)
                    idle = self.rng.random() < 0.15
                    line = self._pick(IDLE if idle else fact.topic.chatter or IDLE).format(who=who)
                    if line not in said:
                        break
                said.add(line)
                lines[step].append(line)

    def _people(self, count: int) -> list[str]:
        first, family = _pool("people", self.split), _pool("families", self.split)
        if count <= len(first):
            return self.rng.sample(first, count)
        pairs = [f"{one} {other}" for one in first for other in family]
        return self.rng.sample(pairs, min(count, len(pairs)))

    def _left(self, pool: str) -> int:
        """How many values of a pool the stream has not used."""
        if pool not in self.values:
            self.values[pool] = list(_pool(pool, self.split))
        return len(self.values[pool])

    def _draw(self, values: list[str]) -> str:
        """A value at random, taken out."""
        place = self.rng.randrange(len(values))
        values[place], values[-1] = values[-1], values[place]
        return values.pop()

    def _round(self, number: float) -> int:
        """Up or down at random, so that the mean over streams is the number itself."""
        return int(number + self.rng.random())

    def _id(self, letter: str) -> str:
        self.ids += 1
        return f"{self.id}-{letter}{self.ids:03d}"

    def _pick(self, options: Any) -> Any:
        return options[self.rng.randrange(len(options))]
