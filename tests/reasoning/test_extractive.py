from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.reasoning import Asked, Reply
from finemem_pipeline.reasoning.asking import instructed
from finemem_pipeline.reasoning.extractive import LONGEST_REPLY, ExtractiveReasoner, sentences, stem


def ask(question: str, *texts: str) -> Reply:
    return ExtractiveReasoner().answer([Asked(question, texts)])[0]


def test_the_sentence_that_shares_the_question_is_quoted_and_cited():
    fresno = "Fresno lies in the Central Valley. It is about 220 miles (350 km) from Los Angeles. Its parks are green."
    assert ask("How far is Fresno from Los Angeles?", "Los Angeles is large.", fresno) == Reply(
        "It is about 220 miles (350 km) from Los Angeles.", (1,)
    )


@pytest.mark.parametrize("question", ["Who has the key?", "Is it late?", "Query: x\nWhich class number does it get?"])
def test_without_a_memory_nothing_is_said(question: str):
    assert ask(question) == Reply("")


def test_how_to_answer_is_no_part_of_what_is_asked():
    told = instructed("Where is Ada from?", "Name the latest town only.")
    texts = ("The latest town to be named is Rome. Ada is from Oslo.",)
    assert ask(told, *texts) == ask("Where is Ada from?", *texts) == Reply("Ada is from Oslo.", (0,))


@pytest.mark.parametrize("question", ["Who owns the zebra?", "Who is it?", ""])
def test_texts_that_share_nothing_are_not_quoted(question: str):
    assert ask(question, "The train left at noon.") == Reply("")


def test_a_note_without_a_full_stop_is_a_sentence():
    assert ask("What is the code of Maria's locker?", "Maria locker code 4821") == Reply("Maria locker code 4821", (0,))


@pytest.mark.parametrize(
    ("question", "wanted", "other"),
    [
        ("When was the bridge built?", "The bridge was built in 1874.", "The bridge was built of stone."),
        ("How many arches has the bridge?", "The bridge has seven arches.", "The bridge has wide arches."),
        ("Who built the bridge?", "The bridge was built by John Roebling.", "The bridge was built by hand."),
        ("Where does the bridge lead?", "The bridge leads to Brooklyn.", "The bridge leads the way."),
    ],
)
def test_the_kind_of_thing_asked_for_decides_between_equals(question: str, wanted: str, other: str):
    assert ask(question, other, wanted).text == ask(question, wanted, other).text == wanted


def test_a_sentence_that_corrects_another_wins():
    old, new = "Ann's exam is on April 28.", "Ann's exam was moved to October 28."
    assert ask("When is Ann's exam?", old, new) == Reply(new, (1,))
    assert ask("When is Ann's exam?", f"{new} {old}") == Reply(new, (0,))


def test_of_equals_in_one_text_the_later_wins():
    register = (
        "- iWork was developed by Apple.\n- The capital of India is New Delhi.\n- iWork was developed by Microsoft."
    )
    assert ask("Who is the developer of iWork?", register).text == "iWork was developed by Microsoft."


def test_of_equal_texts_the_first_wins():
    assert ask("Where does Ann live?", "Ann lives in Rome.", "Ann lives in Oslo.") == Reply("Ann lives in Rome.", (0,))


def test_a_name_that_links_two_notes_is_not_what_was_asked_for():
    owns, moored = "Rafael owns a boat called Trident.", "The boat Trident is moored in Aldstead."
    assert ask("Where is Rafael's boat moored?", owns, moored) == Reply(moored, (1,))


@pytest.mark.parametrize(
    ("question", "texts", "said"),
    [
        ("Is the locker code 4821?", ["Ann's locker code is 4821."], "yes"),
        ("Is the locker code 4821?", ["Ann's locker code is 9000."], "no"),
        ("Does Ann like jazz?", ["Ann does not like jazz."], "no"),
        ("Are both Rome and Oslo capitals?", ["Rome is a capital.", "Oslo is a capital."], "yes"),
        ("Is Ann a doctor or a nurse?", ["Ann is a nurse."], "Ann is a nurse."),
    ],
)
def test_yes_no_questions(question: str, texts: list[str], said: str):
    assert ask(question, *texts).text == said


LABEL = "Query: {}\nWhich class number does this query get? Answer with the number only."


def test_a_label_is_that_of_the_nearest_example_alone():
    texts = ["Query: call me a cab\nClass: 1\nQuery: play jazz music\nClass: 22", "what is the weather -> 9"]
    assert ask(LABEL.format("play some jazz"), *texts) == Reply("22", (0,))
    assert ask(LABEL.format("how is the weather"), *texts) == Reply("9", (1,))


def test_a_label_is_not_guessed():
    assert ask(LABEL.format("freeze my account"), "play jazz -> 22") == Reply("")
    assert ask(LABEL.format("play jazz"), "Ann likes to play jazz.") == Reply("")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        (
            "Dr. Who met J. R. Smith at 5.30 p.m. today. He left.",
            ["Dr. Who met J. R. Smith at 5.30 p.m. today.", "He left."],
        ),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("- a fact\n* another\n3. a third", ["a fact", "another", "a third"]),
        ("\n \n", []),
    ],
)
def test_a_text_is_cut_into_sentences(text: str, expected: list[str]):
    assert sentences(text) == expected


def test_a_run_without_full_stops_is_cut():
    pieces = sentences(" ".join(f"w{i}" for i in range(150)))
    assert [len(piece.split()) for piece in pieces] == [60, 60, 30]


@pytest.mark.parametrize(
    "forms",
    [("founded", "founding", "founder", "founders"), ("cities", "city"), ("wrote", "writes", "written", "writing")],
)
def test_forms_of_a_word_have_one_stem(forms: tuple[str, ...]):
    assert len({stem(form) for form in forms}) == 1


@given(st.text(max_size=80), st.lists(st.text(max_size=300), max_size=3))
def test_a_reply_is_part_of_the_text_it_cites_and_never_long(question: str, texts: list[str]):
    reply = ask(question, *texts)
    assert len(reply.text.split()) <= LONGEST_REPLY
    if reply.text in ("", "yes", "no"):
        return
    (place,) = reply.cited
    assert " ".join(reply.text.split()) in " ".join(texts[place].split())
    assert reply == ask(question, *texts)


def test_short_texts_are_read_a_thousand_times_a_second():
    asked = [
        Asked(f"What is the code of locker {i}?", (f"Locker {i} has code {i}.", f"Ann {i} likes it."))
        for i in range(2000)
    ]
    begin = time.process_time()
    ExtractiveReasoner().answer(asked)
    assert time.process_time() - begin < 2.0


@pytest.mark.parametrize(
    "text", ["a " * 50_000, "A. " * 30_000, "." * 100_000, "a; " * 30_000, "(" * 100_000, '." ' * 30_000]
)
def test_long_texts_take_time_in_proportion(text: str):
    begin = time.process_time()
    ask("What is a?", text)
    assert time.process_time() - begin < 2.0


def test_the_identity_stays_with_the_rules():
    assert ExtractiveReasoner().identity == ExtractiveReasoner().identity
    assert ExtractiveReasoner().identity.startswith("extractive/")


CROWD = """
import hashlib, random
from finemem_pipeline.reasoning import Asked
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
rng = random.Random(0)
vocabulary = [f"w{i}" for i in range(40)]
def words(): return " ".join(rng.choices(vocabulary, range(1, 41), k=12))
def shuffled(): line = words().split(); return [" ".join(rng.sample(line, 12)) for _ in range(3)]
def labels(): return "; ".join(f"{line} -> {rng.randrange(9)}" for _ in range(5) for line in shuffled())
def notes(): return ". ".join(line.capitalize() for _ in range(5) for line in shuffled())
asked = [Asked(f"Query: {words()}\\nWhich class number?", (labels(), labels())) for _ in range(200)]
asked += [Asked(f"Who saw {words()}?", (notes(), notes())) for _ in range(200)]
print(hashlib.sha256(repr(ExtractiveReasoner().answer(asked)).encode()).hexdigest())
"""


def test_replies_do_not_depend_on_the_order_of_sets():
    told = {
        subprocess.run(
            [sys.executable, "-c", CROWD], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


@pytest.mark.parametrize(
    "question",
    [
        "Sentence: Patients were followed for a year.\nWhat are the labels for the above medical abstract sentence? "
        "Put your final answer in \\boxed{}.",
        "Patients were followed for a year.\nlabel:",
    ],
)
def test_label_questions_of_the_benchmarks_get_the_number_of_the_nearest_example(question: str):
    chunk = (
        "[Dialogue between User and Assistant on 2024-01-01 00:00]\n<User>Study these examples and their labels:\n\n"
        "Sample: We aimed to compare two drugs.\nLabels: 1\n\nSample: All patients were followed for two years.\n"
        "Labels: 3\n<Assistant>Noted."
    )
    assert ExtractiveReasoner().answer([Asked(question, (chunk,))]) == [Reply("3", (0,))]
