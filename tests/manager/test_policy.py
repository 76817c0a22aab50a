from __future__ import annotations

import random

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.manager import Observation
from finemem_pipeline.manager.policy import PolicyManager, Prompter
from finemem_pipeline.memory import Insert, MemoryBank
from finemem_pipeline.retrieval import BM25


def count_words(text: str) -> int:
    return len(text.split())


def prompter(budget: int = 100) -> Prompter:
    return Prompter(BM25(), count_words, budget)


def bank(*texts: str) -> MemoryBank:
    found = MemoryBank()
    for text in texts:
        found, _ = found.apply(Insert(text), 0)
    return found


SECRET = Question(
    "SECRET-id",
    "SECRET-question",
    ("SECRET-answer",),
    evidence=(0,),
    stale=(0,),
    keywords=("SECRET-word",),
    kind="SECRET-kind",
)
CHUNK = Chunk(0, "Ann found the red key.", (SECRET,), timestamp="2025-01-06 09:00")
EPISODE = Episode("SECRET-stream", "SECRET-source", "AR", (CHUNK,), (SECRET,))


def said(conversation) -> str:
    return "\n".join(message["content"] for message in conversation)


def test_the_prompt_holds_the_chunk_its_time_and_the_memory_and_nothing_of_the_questions():
    conversation, shown = prompter()(Observation(EPISODE, CHUNK, bank("Bob has a hat.")))
    text = said(conversation)
    assert CHUNK.text in text
    assert CHUNK.timestamp in text
    assert "m1: Bob has a hat." in text
    assert "SECRET" not in text
    assert shown == {"m1"}


def test_no_reference_that_the_chunk_does_not_tell_itself_is_in_any_prompt_of_planted_streams():
    hidden = 0
    for episode in generate(PlantedSpec(train=12, chunks=(3, 5), corrections=0.4, seed=2), "train"):
        for chunk in episode.chunks:
            told = said(prompter()(Observation(episode, chunk, MemoryBank()))[0])
            answers = {answer for question in episode.questions for answer in question.answers}
            elsewhere = {answer for answer in answers if answer not in chunk.text}
            hidden += len(elsewhere)
            assert not [answer for answer in elsewhere if answer in told]
            assert not [question for question in (*episode.questions, *chunk.questions) if question.id in told]
    assert hidden > 100


def test_instructions_and_chunk_come_before_the_memory_so_that_siblings_share_them():
    first, second = (
        prompter()(Observation(EPISODE, CHUNK, one))[0] for one in (bank("Bob has a hat."), bank("It rained."))
    )
    assert [message["role"] for message in first] == ["system", "user"]
    assert first[0] == second[0]
    shared, memory = first[1]["content"].split("Memory:\n")
    assert second[1]["content"].split("Memory:\n") == [shared, "m1: It rained."]
    assert CHUNK.text in shared
    assert memory == "m1: Bob has a hat."


def test_an_empty_memory_is_called_empty():
    conversation, shown = prompter()(Observation(EPISODE, CHUNK, MemoryBank()))
    assert conversation[1]["content"].endswith("Memory:\n(empty)")
    assert shown == frozenset()


def test_of_a_long_memory_the_relevant_and_the_newest_items_are_shown_and_no_other_id():
    texts = ["Ann lost the red key."] + [f"It rained on day {n}." for n in range(40)]
    conversation, shown = prompter(budget=24)(Observation(EPISODE, CHUNK, bank(*texts)))
    content = conversation[1]["content"]
    assert {"m1", "m41"} <= shown
    assert len(shown) < 6
    memory = content.partition("Memory:\n")[2]
    assert {line.partition(":")[0] for line in memory.splitlines()} == shown
    assert count_words(memory) <= 24


def test_the_memory_shown_stays_within_the_budget_whatever_it_holds():
    rng = random.Random(0)
    for _ in range(30):
        texts = [" ".join(rng.choices(["Ann", "key", "red", "rain", "hat"], k=rng.randint(1, 12))) for _ in range(20)]
        budget = rng.randint(0, 60)
        conversation, shown = prompter(budget)(Observation(EPISODE, CHUNK, bank(*texts)))
        memory = conversation[1]["content"].partition("Memory:\n")[2]
        assert memory == "(empty)" if not shown else count_words(memory) <= budget


def test_a_wave_is_one_call_of_the_generator_and_turns_know_what_was_shown():
    calls = []

    class Counting(ScriptedGenerator):
        def generate(self, conversations, sampling):
            calls.append((len(conversations), sampling))
            return super().generate(conversations, sampling)

    generator = Counting(["[]", '[{"op": "SKIP"}]'])
    sampling = Sampling(max_tokens=7, temperature=0.5)
    turns = PolicyManager(generator, prompter(), sampling).act(
        [Observation(EPISODE, CHUNK, MemoryBank()), Observation(EPISODE, CHUNK, bank("Bob has a hat."))]
    )
    assert calls == [(2, sampling)]
    assert [(turn.completion.text, turn.shown) for turn in turns] == [("[]", frozenset()), ('[{"op": "SKIP"}]', {"m1"})]
