from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.errors import DataError
from finemem_pipeline.generation import GeneratorError
from finemem_pipeline.questions import ClozeWriter, Draft, Drafts, write_questions
from finemem_pipeline.questions.writing import BATCH
from finemem_pipeline.reasoning import Asked, Reply


class Says:
    """Writes the same drafts about every text; breaks when the texts it may write about are used up."""

    identity = "says 1"

    def __init__(self, *drafts: tuple[str, str], malformed: int = 0, texts: int = 1000) -> None:
        self.drafts, self.malformed, self.texts = drafts, malformed, texts
        self.seen: list[str] = []

    def write(self, texts: Sequence[str], count: int) -> list[Drafts]:
        self.seen += texts
        if len(self.seen) > self.texts:
            raise GeneratorError("out of credit")
        return [Drafts(tuple(Draft(*each) for each in self.drafts)[:count], self.malformed) for _ in texts]


class Quotes:
    """Answers with all it was shown; fails on questions that hold a word."""

    identity = "quotes 1"

    def __init__(self, failing: str = "\0") -> None:
        self.failing = failing
        self.asked: list[Asked] = []

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        self.asked += asked
        return [
            Reply("", failure="timed out") if self.failing in each.question else Reply(" ".join(each.texts))
            for each in asked
        ]


def stream(*texts: str, own: tuple[Question, ...] = (), final: tuple[Question, ...] = ()) -> Episode:
    return Episode("s", "x", "AR", tuple(Chunk(t, text, own if t == 0 else ()) for t, text in enumerate(texts)), final)


def texts(episode: Episode) -> list[list[str]]:
    return [[question.text for question in chunk.questions] for chunk in episode.chunks]


def test_only_what_the_chunk_alone_answers_is_kept() -> None:
    verifier = Quotes()
    writer = Says(("Code?", "4821"), ("Name?", "Hugo"))
    [filled], report = write_questions([stream("Code 4821.", "Hugo came.")], writer, verifier)
    assert texts(filled) == [["Code?"], ["Name?"]]
    assert filled.chunks[0].questions[0] == Question("s-c000-w0", "Code?", ("4821",), evidence=(0,), kind="written")
    assert verifier.asked[0] == Asked("Code?", ("Code 4821.",))
    assert report == {
        "chunks": 2,
        "own": 0,
        "asked": 4,
        "kept": 2,
        "cache_hits": 0,
        "writer_calls": 2,
        "without": 0,
        "dropped": {"wrong": 2},
    }


def test_the_sources_own_questions_come_first_and_count() -> None:
    own = (Question("k0", "Own?", ("x",)), Question("k1", "Code?", ("4821",)))
    writer = Says(("code", "4821"), ("Number?", "4821"), ("Digits?", "4821"))
    [filled], report = write_questions([stream("Code 4821.", own=own)], writer, Quotes(), per_chunk=3)
    assert texts(filled) == [["Own?", "Code?", "Number?"]]
    assert report["dropped"] == {"duplicate": 1, "surplus": 1}
    [full], _ = write_questions([stream("Code 4821.", own=own)], Says(texts=0), Quotes(), per_chunk=1)
    assert texts(full) == [["Own?"]]


def test_a_question_of_the_end_is_not_asked_of_the_chunk() -> None:
    final = (Question("q0", "What is the CODE?", ("4821",)),)
    writer = Says(("What is  the code", "4821"), ("Which code?", "4821"), ("which code", "4821"))
    [filled], report = write_questions([stream("Code 4821.", final=final)], writer, Quotes())
    assert texts(filled) == [["Which code?"]]
    assert report["dropped"] == {"duplicate": 2}


def test_drafts_that_no_verifier_need_see_are_counted_by_reason() -> None:
    long = "one two three four five six seven eight nine"
    writer = Says(("Is it 4821?", "4821"), ("Count?", long), ("What?", "?"), malformed=2)
    verifier = Quotes()
    _, report = write_questions([stream(f"{long} 4821?")], writer, verifier)
    assert report["dropped"] == {"given_away": 2, "long": 1, "malformed": 2}
    assert report["without"] == 1
    assert verifier.asked == []


def test_a_rerun_pays_nothing_and_gives_the_same(tmp_path: Path) -> None:
    streams = list(generate(PlantedSpec(train=3), "train"))
    cache = tmp_path / "deep" / "questions.sqlite"
    first, before = write_questions(streams, ClozeWriter(), Quotes(), cache=cache)
    silent = Quotes()
    second, after = write_questions(streams, ClozeWriter(), silent, cache=cache)
    assert second == first
    assert silent.asked == []
    assert (before["cache_hits"], before["writer_calls"]) == (0, 9)
    assert (after["cache_hits"], after["writer_calls"]) == (9, 0)
    assert {**after, "cache_hits": 0, "writer_calls": 9} == before


def test_a_run_that_broke_is_taken_up_where_it_stopped(tmp_path: Path) -> None:
    cache = tmp_path / "questions.sqlite"
    episode = stream(*(f"Code 4821 of {i}." for i in range(2 * BATCH + 3)))
    with pytest.raises(GeneratorError, match="out of credit"):
        write_questions([episode], Says(("Code?", "4821"), texts=2 * BATCH), Quotes(), cache=cache)
    again = Says(("Code?", "4821"))
    _, report = write_questions([episode], again, Quotes(), cache=cache)
    assert again.seen == [f"Code 4821 of {i}." for i in range(2 * BATCH, 2 * BATCH + 3)]
    assert report["kept"] == 2 * BATCH + 3


def test_a_verifier_that_failed_is_asked_again_not_remembered_as_a_no(tmp_path: Path) -> None:
    cache = tmp_path / "questions.sqlite"
    episode, writer = stream("Code 4821."), Says(("Code?", "4821"), ("Number?", "4821"))
    [filled], report = write_questions([episode], writer, Quotes(failing="Number"), cache=cache)
    assert texts(filled) == [["Code?"]]
    assert report["dropped"] == {"unverified": 1}
    [filled], report = write_questions([episode], writer, Quotes(), cache=cache)
    assert texts(filled) == [["Code?", "Number?"]]
    assert report["cache_hits"] == 0


def test_another_writer_verifier_or_number_is_another_entry(tmp_path: Path) -> None:
    cache = tmp_path / "questions.sqlite"
    episode = stream("Code 4821.")
    other_writer, other_verifier = Says(("Code?", "4821")), Quotes()
    other_writer.identity, other_verifier.identity = "says 2", "quotes 2"
    for writer, verifier, number in (
        (Says(("Code?", "4821")), Quotes(), 5),
        (other_writer, Quotes(), 5),
        (Says(("Code?", "4821")), other_verifier, 5),
        (Says(("Code?", "4821")), Quotes(), 4),
    ):
        assert write_questions([episode], writer, verifier, number, cache)[1]["cache_hits"] == 0


def test_a_text_that_occurs_twice_is_written_about_once() -> None:
    writer = Says(("Code?", "4821"))
    streams = [stream("Code 4821.", "Code 4821."), replace(stream("Code 4821."), id="t")]
    filled, report = write_questions(streams, writer, Quotes())
    assert writer.seen == ["Code 4821."]
    assert [texts(each) for each in filled] == [[["Code?"], ["Code?"]], [["Code?"]]]
    ids = [question.id for each in filled for chunk in each.chunks for question in chunk.questions]
    assert ids == ["s-c000-w0", "s-c001-w0", "t-c000-w0"]
    assert report["writer_calls"] == 1


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    cache = tmp_path / "questions.sqlite"
    cache.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(DataError, match=r"questions\.sqlite: not a question cache that can be used"):
        write_questions([stream("Code 4821.")], Says(), Quotes(), cache=cache)
