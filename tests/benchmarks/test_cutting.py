from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finemem_pipeline.benchmarks.cutting import cut_chunks, cut_text
from finemem_pipeline.episodes import Chunk, Episode, Question


def words(text: str) -> int:
    return len(text.split())


def tokens(text: str) -> int:
    """Like a byte-pair tokenizer: white space and punctuation cost something."""
    return len(re.findall(r"\w{1,4}|[^\w ]", text))


def episode(*texts: str, questions: tuple[Question, ...] = (), own: tuple[Question, ...] = ()) -> Episode:
    """`own` are the questions of the first chunk."""
    chunks = tuple(Chunk(t, text, own if t == 0 else (), f"day {t}") for t, text in enumerate(texts))
    return Episode("s", "x", "AR", chunks, questions)


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.sampled_from('ab. \n?!"’)[ßé字'), min_size=1, max_size=200).filter(str.strip),
    st.integers(1, 12),
    st.sampled_from([words, tokens, len]),
)
def test_the_pieces_are_the_text_and_fit(text: str, most: int, count: object) -> None:
    pieces = cut_text(text, most, count)  # type: ignore[arg-type]
    assert "".join(pieces) == text
    assert all(piece.strip() for piece in pieces)
    assert all(count(piece.strip()) <= most for piece in pieces)  # type: ignore[operator]


def test_a_stream_that_fits_is_left_alone() -> None:
    short = episode("One two. Three four.", "Five.")
    assert cut_chunks(short, 4, words) is short


def test_cuts_fall_at_the_ends_of_sentences_and_lines() -> None:
    assert cut_text("One two three. Four five.\nSix seven eight nine", 5, words) == [
        "One two three. Four five.\n",
        "Six seven eight nine",
    ]


def test_a_longer_sentence_is_cut_between_words_and_a_longer_word_anywhere() -> None:
    assert cut_text("one two three four five", 2, words) == ["one two ", "three four ", "five"]
    assert cut_text("abcdefgh", 3, len) == ["ab", "cd", "ef", "gh"]


def test_a_labelled_example_is_not_torn_from_its_label() -> None:
    text = "Query: play some jazz\nClass: 3\nQuery: what is the time\nClass: 5\n"
    assert cut_text(text, 8, words) == ["Query: play some jazz\nClass: 3\n", "Query: what is the time\nClass: 5\n"]


def test_evidence_follows_the_answer_and_stale_the_rest() -> None:
    found = Question("q0", "Code?", ("4821",), evidence=(0, 1))
    nowhere = Question("q1", "Mood?", ("gloomy",), evidence=(1,), stale=(0,))
    both = Question("q2", "Code?", ("4821",), evidence=(1,), stale=(1,))
    cut = cut_chunks(
        episode("Start here now.", "A code is 4821. It rained all day.", questions=(found, nowhere, both)), 4, words
    )
    assert [chunk.text for chunk in cut.chunks] == ["Start here now.", "A code is 4821. ", "It rained all day."]
    assert [question.evidence for question in cut.questions] == [(0, 1), (1, 2), (1,)]
    assert [question.stale for question in cut.questions] == [(), (0,), (2,)]
    assert [chunk.timestamp for chunk in cut.chunks] == ["day 0", "day 1", "day 1"]


def test_an_answer_inside_another_word_is_not_found() -> None:
    question = Question("q", "How many?", ("12",), evidence=(0,))
    cut = cut_chunks(episode("Room 4125 is free. There are 12 chairs.", questions=(question,)), 4, words)
    assert cut.questions[0].evidence == (1,)


def test_a_chunk_question_goes_to_the_piece_that_answers_it() -> None:
    own = (
        Question("k0", "What is Maria's code?", ("4821",), evidence=(0,)),
        Question("k1", "Who is the dentist of Hugo?", ("Novak",), evidence=(0,)),
        Question("k2", "What is the mood?", ("gloomy",), evidence=(0,)),
        Question("k3", "Where does Novak live?", ("Novak",), evidence=()),
    )
    cut = cut_chunks(episode("Maria has 4821 now. Novak came by. Hugo's dentist is Novak. The end.", own=own), 4, words)
    homes = {question.id: chunk.index for chunk in cut.chunks for question in chunk.questions}
    texts = [chunk.text for chunk in cut.chunks]
    assert texts == ["Maria has 4821 now. ", "Novak came by. ", "Hugo's dentist is Novak. ", "The end."]
    assert homes == {"k0": 0, "k1": 2, "k2": 3, "k3": 1}
    assert {q.id: q.evidence for chunk in cut.chunks for q in chunk.questions}["k1"] == (2,)
    assert {q.id: q.evidence for chunk in cut.chunks for q in chunk.questions}["k3"] == ()


def test_an_answer_holds_until_the_first_piece_of_the_chunk_that_replaces_it() -> None:
    own = (Question("k0", "What is the code?", ("4821",), until=2), Question("k1", "Who is gloomy?", ("Maria",)))
    texts = ("The code is 4821. Maria is gloomy today.", "Nothing happened here.", "Hello to you again. It is 77.")
    cut = cut_chunks(episode(*texts, own=own), 4, words)
    assert [chunk.text for chunk in cut.chunks][3:] == ["Hello to you again. ", "It is 77."]
    assert {q.id: q.until for chunk in cut.chunks for q in chunk.questions} == {"k0": 3, "k1": None}


def test_a_question_about_a_label_goes_to_the_example_it_quotes() -> None:
    text = "Query: play jazz\nClass: 3\nQuery: tell time\nClass: 3\nQuery: bake bread\nClass: 5\n"
    asked = "Query: tell time\nWhich class number was given to this query? Answer with the number only."
    unquoted = "Query: fly away\nWhich class number was given to this query? Answer with the number only."
    own = (Question("k0", asked, ("3",), metric="label_em"), Question("k1", unquoted, ("3",), metric="label_em"))
    cut = cut_chunks(episode(text, own=own), 5, words)
    assert [[question.id for question in chunk.questions] for chunk in cut.chunks] == [[], ["k0"], ["k1"]]


def test_the_tokenizer_reads_a_long_text_a_few_times_only() -> None:
    read = 0

    def count(text: str) -> int:
        nonlocal read
        read += len(text)
        return words(text)

    text = "A sentence of six short words. " * 3000
    assert len(cut_text(text, 60, count)) == 300
    assert read < 4 * len(text)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        cut_chunks(episode("a"), 0, words)
