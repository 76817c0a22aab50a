from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.planted import CAPACITY, SPLITS, PlantedSpec, generate, write
from finemem_pipeline.benchmarks.planted_words import FAMILIES, IDLE, LINKS, PEOPLE, TOPICS, VALUES
from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import DataError

specs = st.builds(
    PlantedSpec,
    train=st.just(3),
    dev=st.just(1),
    test=st.just(3),
    chunks=st.integers(1, 6) | st.tuples(st.integers(1, 3), st.integers(3, 6)),
    facts_per_chunk=st.integers(1, 6),
    distractors_per_chunk=st.integers(0, 5),
    corrections=st.floats(0, 0.5),
    two_step=st.floats(0, 0.5),
    questions=st.none() | st.integers(1, 5),
    seed=st.integers(0, 99),
)


def streams(spec: PlantedSpec) -> list[Episode]:
    return [*generate(spec, "train"), *generate(spec, "test")]


@settings(max_examples=50, deadline=None)
@given(specs)
def test_a_value_stands_in_its_evidence_and_nowhere_else(spec: PlantedSpec) -> None:
    for episode in streams(spec):
        lines = [(chunk.index, line.lower()) for chunk in episode.chunks for line in chunk.text.split("\n")]
        for question in episode.questions:
            holding = [step for step, line in lines if question.answers[0].lower() in line]
            assert len(holding) == 1
            assert holding[0] == question.evidence[-1] or question.kind == "two_step"
            assert holding[0] in question.evidence
            assert question.answers[0].lower() not in question.text.lower()


@settings(max_examples=30, deadline=None)
@given(specs)
def test_every_statement_is_asked_about_after_its_chunk_with_its_value_of_then(spec: PlantedSpec) -> None:
    for episode in streams(spec):
        final = {question.text for question in episode.questions}
        for chunk in episode.chunks:
            assert len(chunk.questions) == spec.facts_per_chunk
            assert len(chunk.text.split("\n")) == spec.facts_per_chunk + spec.distractors_per_chunk
            for question in chunk.questions:
                assert question.answers[0] in chunk.text
                assert question.evidence == (chunk.index,)
                assert question.text not in final


def test_a_correction_makes_the_older_chunk_stale() -> None:
    spec = PlantedSpec(train=40, chunks=5, corrections=0.5, two_step=0.0)
    corrected = [q for episode in generate(spec, "train") for q in episode.questions if q.stale]
    assert corrected
    assert all(q.stale < q.evidence for q in corrected)
    for episode in generate(spec, "train"):
        for question in episode.questions:
            for step in question.stale:
                others = [q for q in episode.chunks[step].questions if q.kind == question.kind]
                assert others  # the replaced statement was asked about when it was new
                assert question.answers[0] not in episode.chunks[step].text


def test_what_was_asked_about_a_corrected_statement_holds_until_its_correction() -> None:
    corrections = 0
    for episode in generate(PlantedSpec(train=20, chunks=5, facts_per_chunk=3, corrections=0.5, two_step=0.0), "train"):
        replaced = sorted((stale, q.kind, q.evidence[0]) for q in episode.questions for stale in q.stale)
        until = [(c.index, q.kind, q.until) for c in episode.chunks for q in c.questions if q.until is not None]
        assert sorted(until) == replaced
        corrections += len(until)
    assert corrections > 20


def test_shares_are_met_on_average() -> None:
    asked = [
        question
        for episode in generate(PlantedSpec(train=300, chunks=5, corrections=0.25, two_step=0.2), "train")
        for question in episode.questions
    ]
    assert len(asked) / 300 == pytest.approx(8.0, abs=0.2)  # ten statements: eight facts, a quarter of them twice
    assert sum(question.kind == "two_step" for question in asked) / len(asked) == pytest.approx(0.2, abs=0.03)
    single = [question for question in asked if question.kind != "two_step"]
    assert sum(bool(question.stale) for question in single) / len(asked) == pytest.approx(0.25, abs=0.03)


def test_a_question_of_two_steps_names_both_chunks() -> None:
    for episode in generate(PlantedSpec(train=50, two_step=0.5, corrections=0.0), "train"):
        for question in episode.questions:
            if question.kind == "two_step":
                assert len(question.evidence) == 2
                first, second = (episode.chunks[step].text for step in question.evidence)
                assert (question.answers[0] in first) != (question.answers[0] in second)


def test_all_kinds_of_facts_occur() -> None:
    kinds = {question.kind for episode in generate(PlantedSpec(), "train") for question in episode.questions}
    assert kinds == {"people", "places", "numbers", "preferences", "schedules", "two_step"}


def test_a_larger_set_begins_with_the_smaller_one() -> None:
    small, large = PlantedSpec(train=4, test=2), PlantedSpec(train=9, test=5)
    for split, size in (("train", 4), ("test", 2)):
        assert list(generate(large, split))[:size] == list(generate(small, split))


def test_seed_split_and_number_each_change_the_stream() -> None:
    texts = {
        episode.chunks[0].text
        for seed in (0, 1)
        for split in SPLITS
        for episode in generate(PlantedSpec(train=4, dev=4, test=4, seed=seed), split)
    }
    assert len(texts) == 24


def test_the_test_split_knows_people_and_values_that_training_does_not() -> None:
    spec = PlantedSpec(train=150, dev=1, test=150)
    train = {q.answers[0] for episode in generate(spec, "train") for q in episode.questions if q.kind != "numbers"}
    test = {q.answers[0] for episode in generate(spec, "test") for q in episode.questions if q.kind != "numbers"}
    assert 0.2 < len(test - train) / len(test) < 0.8


def test_the_longest_streams_the_words_allow_can_be_made() -> None:
    spec = PlantedSpec(test=1, chunks=CAPACITY // 4, facts_per_chunk=4, corrections=0.4, two_step=0.3)
    [episode] = generate(spec, "test")
    assert episode.steps == CAPACITY // 4
    assert all(
        question.answers[0] in episode.chunks[question.evidence[-1]].text
        for question in episode.questions
        if question.kind != "two_step"
    )
    with pytest.raises(DataError, match=f"the word lists keep {CAPACITY} apart"):
        PlantedSpec(chunks=CAPACITY, facts_per_chunk=2)


def test_no_value_is_part_of_another_word_of_the_streams() -> None:
    things = [topic for link in LINKS for topic in link.things]
    sentences = [
        text
        for topic in (*TOPICS, *things)
        for text in (*topic.says, *topic.corrects, *topic.asks, *topic.asks_now, *topic.chatter, *topic.asks_through)
    ]
    sentences += [text for link in LINKS for text in (*link.says, *link.asks_now, *link.chatter)]
    fixed = [text.lower() for text in (*sentences, *IDLE, *PEOPLE, *FAMILIES)]
    values = [value.lower() for pool, words in VALUES.items() if pool != "code" for value in words]
    assert not [(value, text) for value in values for text in fixed if value in text]
    assert not [pair for pair in combinations(values, 2) if pair[0] in pair[1] or pair[1] in pair[0]]
    assert not [text for text in fixed if re.search(r"\d", text)]  # codes, dates and times are the only digits


def test_bad_specs_name_every_field() -> None:
    with pytest.raises(DataError) as caught:
        PlantedSpec(train=0, distractors_per_chunk=-1, corrections=1.5, chunks=(5, 2), questions=0, seed=True)
    said = str(caught.value)
    for field in ("train", "distractors_per_chunk", "corrections", "chunks", "questions", "seed"):
        assert f"planted.{field}: found " in said


def test_corrections_and_links_must_leave_facts() -> None:
    with pytest.raises(DataError, match=r"corrections and two_step: found 0.8 \+ 0.3"):
        PlantedSpec(corrections=0.8, two_step=0.3)


def test_a_list_from_a_config_file_is_a_range() -> None:
    assert PlantedSpec(chunks=[2, 4]) == PlantedSpec(chunks=(2, 4))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "planted", PlantedSpec(train=3, dev=2, test=2))
    return tmp_path / "planted"


def test_a_folder_reads_back_what_was_generated(folder: Path) -> None:
    spec = PlantedSpec(train=3, dev=2, test=2)
    for split in SPLITS:
        assert list(BENCHMARKS["planted"](folder, split)) == list(generate(spec, split))


def test_writing_again_touches_nothing(folder: Path) -> None:
    before = {each.name: each.stat().st_mtime_ns for each in folder.iterdir()}
    write(folder, PlantedSpec(train=3, dev=2, test=2))
    assert {each.name: each.stat().st_mtime_ns for each in folder.iterdir()} == before
    assert sorted(before) == ["dev.jsonl.gz", "spec.json", "test.jsonl.gz", "train.jsonl.gz"]


def test_another_spec_or_a_damaged_file_is_written_again(folder: Path) -> None:
    spec = PlantedSpec(train=3, dev=2, test=2)
    (folder / "train.jsonl.gz").write_bytes(b"half")
    with pytest.raises(DataError, match=r"not the file that spec.json tells of"):
        BENCHMARKS["planted"](folder, "train")
    write(folder, spec)
    assert len(list(BENCHMARKS["planted"](folder, "train"))) == 3
    write(folder, replace(spec, train=5))
    assert len(list(BENCHMARKS["planted"](folder, "train"))) == 5


def test_what_a_killed_run_left_is_completed(folder: Path) -> None:
    made = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**made, "sha256": {}}))
    (folder / "test.jsonl.gz").unlink()
    with pytest.raises(DataError, match=r"spec.json is missing or damaged"):
        BENCHMARKS["planted"](folder, "train")
    write(folder, PlantedSpec(train=3, dev=2, test=2))
    assert len(list(BENCHMARKS["planted"](folder, "test"))) == 2


def test_streams_of_others_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl.gz").write_bytes(b"somebody's own")
    with pytest.raises(DataError, match=r"holds train\.jsonl\.gz that planted streams would replace"):
        write(tmp_path, PlantedSpec(train=3, dev=2, test=2))
    assert (tmp_path / "train.jsonl.gz").read_bytes() == b"somebody's own"


def test_an_unknown_split_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"'tset' is not a known split. Did you mean 'test'"):
        BENCHMARKS["planted"](folder, "tset")
