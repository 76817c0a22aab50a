from __future__ import annotations

import pytest

from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.manager import Observation
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.memory import Insert, MemoryBank, Operation, Skip, Update, parse_operations


def taught(episode: Episode, teacher: Teacher | None = None) -> tuple[MemoryBank, list[list[Operation]]]:
    """The memory that the teacher leaves, and what it did at each step."""
    teacher, bank, done = teacher or Teacher(), MemoryBank(), []
    for chunk in episode.chunks:
        done.append(teacher.operations(Observation(episode, chunk, bank)))
        for operation in done[-1]:
            bank, outcome = bank.apply(operation, chunk.index)
            assert outcome.refused is None
    return bank, done


@pytest.fixture(scope="module")
def planted() -> list[Episode]:
    spec = PlantedSpec(train=60, chunks=(2, 6), facts_per_chunk=3, corrections=0.4, two_step=0.2, seed=5)
    return list(generate(spec, "train"))


def test_every_planted_fact_is_in_memory_at_the_end_and_once(planted):
    for episode in planted:
        bank, _ = taught(episode)
        for question in episode.questions:
            assert len([item for item in bank.items if question.answers[0] in item.text]) == 1, question


def test_what_became_stale_is_updated_not_written_beside(planted):
    corrected = 0
    for episode in planted:
        bank, _ = taught(episode)
        for question in (each for each in episode.questions if each.stale):
            corrected += 1
            [item] = [item for item in bank.items if question.answers[0] in item.text]
            assert set(item.writes) - set(question.evidence) <= set(question.stale), question
            assert len(item.writes) > 1
    assert corrected > 100


def test_small_talk_is_left_out(planted):
    for episode in planted:
        bank, _ = taught(episode)
        asked = [question for chunk in episode.chunks for question in chunk.questions]
        values = {answer for question in (*asked, *episode.questions) for answer in question.answers}
        assert all(any(value in item.text for value in values) for item in bank.items)


def test_a_chunk_that_nobody_asks_about_is_skipped(stream):
    question = Question("q", "Which key does Ann have?", ("red",), evidence=(1,))
    _, done = taught(stream("It rained.", "Ann has the red key. Bob yawned.", questions=[question]))
    assert done == [[Skip()], [Insert("Ann has the red key.")]]


def test_of_two_sentences_with_the_answer_the_one_closer_to_the_question_is_stored(stream):
    question = Question("q", "Which key does Ann have?", ("red",), evidence=(0,))
    _, done = taught(stream("The sky was red. Ann has the red key.", questions=[question]))
    assert done == [[Insert("Ann has the red key.")]]


def test_an_item_that_another_question_needs_is_not_taken_for_the_stale_one(stream):
    texts = (
        "Ann has the exam on May 2. Ann has the tea on May 9 at noon.",
        "The new date of the exam that Ann has is June 3.",
    )
    questions = [
        Question("exam", "When does Ann have the exam?", ("June 3",), evidence=(1,), stale=(0,)),
        Question("tea", "When does Ann have the tea?", ("May 9",), evidence=(0,)),
    ]
    asked = [Question("k", "When does Ann have the exam?", ("May 2",), evidence=(0,))]
    bank, _ = taught(stream(*texts, questions=questions, asked=asked))
    assert [(item.text, item.writes) for item in bank.items] == [
        ("The new date of the exam that Ann has is June 3.", (0, 1)),
        ("Ann has the tea on May 9 at noon.", (0,)),
    ]


def test_a_correction_of_what_was_never_written_is_inserted(stream):
    question = Question("q", "When is the exam of Ann?", ("June 3",), evidence=(1,), stale=(0,))
    _, done = taught(stream("It rained.", "The exam of Ann is on June 3.", questions=[question]))
    assert done[1] == [Insert("The exam of Ann is on June 3.")]


def test_labelled_examples_are_stored_with_their_label(stream):
    text = "Query: play some jazz\nClass: 22\n\nQuery: book a taxi\nClass: 10"
    question = Question(
        "q", "Query: put on jazz\nWhich class number does this query get?", ("22",), "label_em", evidence=(0,)
    )
    _, done = taught(stream(text, questions=[question]))
    assert done == [[Insert("Query: play some jazz\nClass: 22")]]


def test_a_question_about_the_whole_stream_asks_for_the_sentences_with_its_keywords(stream):
    question = Question("q", "Tell the story.", ("x",), "keyword_recall", keywords=("dragon", "tower", "king"))
    texts = (
        "It rained. The King built a tower. A dragon came to the tower of the king. Nobody slept.",
        "It rained on.",
    )
    _, done = taught(stream(*texts, questions=[question]))
    assert done == [[Insert("The King built a tower."), Insert("A dragon came to the tower of the king.")], [Skip()]]


def test_at_most_per_chunk_sentences_are_stored(stream):
    names = ["Ann", "Bob", "Cid", "Dot", "Eve"]
    questions = [
        Question(name, f"Which key does {name} have?", (f"K{n}",), evidence=(0,)) for n, name in enumerate(names)
    ]
    text = " ".join(f"{name} has the key K{n}." for n, name in enumerate(names))
    _, done = taught(stream(text, questions=questions), Teacher(per_chunk=3))
    assert len(done[0]) == 3


def test_what_is_in_memory_already_is_not_written_again(stream):
    questions = [Question("q", "Which key does Ann have?", ("red",), evidence=(0, 1))]
    bank, done = taught(stream("Ann has the red key.", "Ann has the red key.", questions=questions))
    assert done[1] == [Skip()]
    assert len(bank) == 1


def test_its_replies_are_in_the_wire_format(planted):
    [turn] = Teacher().act([Observation(planted[0], planted[0].chunks[0], MemoryBank())])
    parsed = parse_operations(turn.completion.text)
    assert parsed.malformed == ()
    assert list(parsed.operations) == Teacher().operations(Observation(planted[0], planted[0].chunks[0], MemoryBank()))
    assert turn.shown is None


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_real_streams_are_taught_without_a_refusal_and_within_bounds(realbench, split):
    updates = 0
    for episode in BENCHMARKS["realbench"](realbench, split):
        _, done = taught(episode)
        assert all(1 <= len(operations) <= 8 for operations in done)
        updates += sum(isinstance(operation, Update) for operations in done for operation in operations)
    assert updates > 0
