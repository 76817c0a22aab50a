from __future__ import annotations

import json
import random
from threading import Event

import pytest

from finemem_pipeline.clock import Clock
from finemem_pipeline.episodes import Question
from finemem_pipeline.generation import GeneratorError
from finemem_pipeline.manager.baselines import RawChunks
from finemem_pipeline.manager.play import all_questions, play
from finemem_pipeline.memory import Delete, Insert, MemoryItem, Skip, Update
from finemem_pipeline.reasoning import ReasonerError, Reply
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reasoning.scripted import ScriptedReasoner
from finemem_pipeline.retrieval import BM25


def count_words(text: str) -> int:
    return len(text.split())


def quoting_reader() -> Reader:
    return Reader(BM25(), ExtractiveReasoner())


def about(name: str, answer: str = "red", evidence: tuple[int, ...] = ()) -> Question:
    return Question(f"q-{name}", f"Which key does {name} have?", (answer,), evidence=evidence)


def insert(text: str) -> str:
    return json.dumps([{"op": "INSERT", "content": text}])


def copy(observation) -> str:
    return insert(observation.chunk.text)


def test_all_rollouts_of_all_streams_stand_at_the_same_chunk(stream, told):
    manager, seen = told(copy), []
    groups = play(
        [stream("a", "b", "c", id="long"), stream("d", id="short")],
        manager,
        quoting_reader(),
        count_words,
        siblings=2,
        on_wave=lambda wave, waves: seen.append((wave, waves)),
    )
    assert [[(each.episode.id, each.chunk.index) for each in wave] for wave in manager.waves] == [
        [("long", 0), ("long", 0), ("short", 0), ("short", 0)],
        [("long", 1), ("long", 1)],
        [("long", 2), ("long", 2)],
    ]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [(group.episode_id, [rollout.sibling for rollout in group.rollouts]) for group in groups] == [
        ("long", [0, 1]),
        ("short", [0, 1]),
    ]
    assert [len(group.rollouts[0].steps) for group in groups] == [3, 1]


def test_a_manager_sees_the_bank_of_the_step_before(stream, told):
    manager = told(copy)
    play([stream("one", "two", "three")], manager, quoting_reader(), count_words)
    assert [[item.text for item in wave[0].bank.items] for wave in manager.waves] == [[], ["one"], ["one", "two"]]


def test_a_step_records_what_was_said_what_came_of_it_and_what_it_holds(stream, told):
    said = iter(
        [
            '[{"op": "INSERT", "content": "Ann has a key"}, {"op": "DELETE", "id": "m9"}]',
            '[{"op": "UPDATE", "id": "m1", "content": "Ann has the red key"}, {"op": "FLY"}]',
            "I would rather not.",
        ]
    )
    texts = ("Ann found a key.", "It is red.", "Good night to you all.")
    [group] = play([stream(*texts)], told(lambda _: next(said)), quoting_reader(), count_words)
    [rollout] = group.rollouts
    first, second, third = rollout.steps
    assert [(done.operation, done.item_id, done.refused) for done in first.operations] == [
        (Insert("Ann has a key"), "m1", None),
        (Delete("m9"), None, "no item m9"),
    ]
    assert first.bank.items == (MemoryItem("m1", "Ann has a key", (0,)),)
    assert [done.operation for done in second.operations] == [Update("m1", "Ann has the red key")]
    assert len(second.malformed) == 1
    assert second.bank.items == (MemoryItem("m1", "Ann has the red key", (0, 1)),)
    assert (third.operations, len(third.malformed), third.bank) == ((), 1, second.bank)
    assert [(step.step, step.bank_tokens, step.chunk_tokens) for step in rollout.steps] == [
        (0, 4, 4),
        (1, 5, 3),
        (2, 5, 5),
    ]
    assert (rollout.tokens_read, rollout.final_tokens) == (12, 5)


def test_chunk_questions_are_answered_right_after_their_step_and_final_ones_from_the_last_bank(stream, told):
    asked = [about("Ann", "red", (0,)), about("Bob", "blue", (1,))]
    episode = stream("Ann has the red key.", "Bob has the blue key.", asked=asked, questions=asked)

    def say(observation) -> str:  # forgets Ann at the second step
        return copy(observation)[:-1] + (', {"op": "DELETE", "id": "m1"}]' if observation.bank.items else "]")

    [group] = play([episode], told(say), quoting_reader(), count_words)
    [rollout] = group.rollouts
    assert [[(a.question_id, a.score) for a in step.answers] for step in rollout.steps] == [
        [("q-Ann", 1.0)],
        [("q-Bob", 1.0)],
    ]
    assert [(a.question_id, a.score) for a in rollout.answers] == [("q-Ann", 0.0), ("q-Bob", 1.0)]
    assert rollout.answers[1].evidence == (MemoryItem("m2", "Bob has the blue key.", (1,)),)


def test_chunk_questions_can_be_left_unasked(stream):
    episode = stream("Ann has the red key.", asked=[about("Ann", evidence=(0,))], questions=[about("Ann")])
    reader = quoting_reader()
    [group] = play([episode], RawChunks(), reader, count_words, ask_chunks=False)
    assert group.rollouts[0].steps[0].answers == ()
    assert reader.usage.questions == 1


def test_siblings_share_the_questions_drawn_for_their_stream(stream):
    episode = stream("nothing", questions=[about(str(n)) for n in range(50)])
    draws = []

    def draw(one):
        draws.append(random.sample(one.questions, 5))
        return tuple(draws[-1])

    [group] = play([episode], RawChunks(), quoting_reader(), count_words, siblings=4, questions=draw)
    assert len(draws) == 1
    asked = {tuple(answer.question_id for answer in rollout.answers) for rollout in group.rollouts}
    assert asked == {tuple(question.id for question in draws[0])}


def test_all_final_questions_are_asked_unless_some_are_drawn(stream):
    episode = stream("nothing", questions=[about("Ann"), about("Bob")])
    assert all_questions(episode) == episode.questions
    [group] = play([episode], RawChunks(), quoting_reader(), count_words)
    assert [answer.question_id for answer in group.rollouts[0].answers] == ["q-Ann", "q-Bob"]


def test_an_item_that_was_not_shown_is_refused_and_stays(stream, told):
    said = iter(
        [
            '[{"op": "INSERT", "content": "one"}, {"op": "INSERT", "content": "two"}]',
            '[{"op": "UPDATE", "id": "1", "content": "ONE"}, {"op": "DELETE", "id": 2}, {"op": "DELETE", "id": "m7"}]',
        ]
    )
    manager = told(lambda _: next(said), shown=frozenset({"m1"}))
    [group] = play([stream("a", "b")], manager, quoting_reader(), count_words)
    last = group.rollouts[0].steps[1]
    assert [done.refused for done in last.operations] == [None, "m2 was not shown", "no item m7"]
    assert [item.text for item in last.bank.items] == ["ONE", "two"]


def test_an_item_written_in_the_same_reply_may_be_changed_in_it(stream, told):
    reply = '[{"op": "INSERT", "content": "one"}, {"op": "UPDATE", "id": "m1", "content": "ONE"}]'
    [group] = play([stream("a")], told(lambda _: reply, shown=frozenset()), quoting_reader(), count_words)
    assert [item.text for item in group.rollouts[0].steps[0].bank.items] == ["ONE"]


def test_skip_is_recorded_as_an_operation(stream, told):
    [group] = play([stream("a")], told(lambda _: "[]"), quoting_reader(), count_words)
    assert [done.operation for done in group.rollouts[0].steps[0].operations] == [Skip()]


def test_a_wave_is_one_batch_for_the_reader(stream):
    asked = [about("Ann", evidence=(0,)), about("Bob", evidence=(0,))]
    batches = []

    class Counting(ScriptedReasoner):
        def answer(self, asked):
            batches.append(len(asked))
            return super().answer(asked)

    episodes = [stream(f"text {n}", asked=asked, questions=asked[:1], id=str(n)) for n in range(3)]
    reader = Reader(BM25(), Counting(lambda one: Reply(" ".join(one.texts))))
    play(episodes, RawChunks(), reader, count_words, siblings=2)
    assert len(batches) == 2  # one wave, and the final questions
    assert reader.usage.questions == 3 * 2 * 2 + 3 * 2


def test_a_reader_that_fails_stops_the_play(stream):
    episode = stream("text", questions=[about("Ann")])
    reader = Reader(BM25(), ScriptedReasoner(lambda one: Reply("", failure="timed out")))
    with pytest.raises(ReasonerError, match="1 of 1 questions could not be scored"):
        play([episode], RawChunks(), reader, count_words)


def test_a_reader_that_fails_at_a_chunk_stops_the_play_before_the_next_chunks(stream, told):
    failed = Event()

    def fail(_):
        failed.set()
        raise ReasonerError("the server is down")

    def say(observation):
        assert observation.chunk.index == 0 or failed.wait(30)
        return copy(observation)

    manager = told(say)
    names = [about(str(t), evidence=(t,)) for t in range(6)]
    with pytest.raises(ReasonerError, match="the server is down"):
        play([stream(*"abcdef", asked=names)], manager, Reader(BM25(), ScriptedReasoner(fail)), count_words)
    assert len(manager.waves) <= 3


def test_the_questions_about_a_chunk_are_answered_while_the_manager_is_at_the_next_one(stream, told):
    begun = [Event(), Event()]

    def say(observation):
        begun[observation.chunk.index].set()
        return copy(observation)

    def reply(asked):
        assert asked.question != first.text or begun[1].wait(30)
        return Reply(asked.texts[0])

    first, second = about("Ann", "red", evidence=(0,)), about("Bob", "blue", evidence=(1,))
    episode = stream("Ann has the red key.", "Bob has the blue key.", asked=[first, second])
    [group] = play([episode], told(say), Reader(BM25(), ScriptedReasoner(reply)), count_words)
    assert [[answer.score for answer in step.answers] for step in group.rollouts[0].steps] == [[1.0], [1.0]]


def test_an_answer_that_failed_within_the_limit_is_unscored_not_zero(stream):
    asked = [about("Ann"), about("Bob")]
    script = {asked[0].text: Reply("", failure="timed out"), asked[1].text: Reply("red")}
    reader = Reader(BM25(), ScriptedReasoner(script), max_unscored_share=0.5)
    [group] = play([stream("text", questions=asked)], RawChunks(), reader, count_words)
    assert [(a.score, a.failure) for a in group.rollouts[0].answers] == [(None, "timed out"), (1.0, None)]


def test_a_manager_that_fails_stops_the_play(stream, told):
    def say(_):
        raise GeneratorError("the server is down")

    with pytest.raises(GeneratorError, match="the server is down"):
        play([stream("text")], told(say), quoting_reader(), count_words)


def test_no_streams_no_groups():
    assert play([], RawChunks(), quoting_reader(), count_words) == []


def test_the_clock_tells_the_phases_apart(stream):
    clock = Clock()
    play([stream("text", questions=[about("Ann")])], RawChunks(), quoting_reader(), count_words, clock=clock)
    assert set(clock.seconds) == {"generate", "apply", "read"}


def test_each_reply_is_seeded_by_its_place(stream, told):
    asked = []

    def look(observation):
        asked.append((observation.episode.id, observation.chunk.index, observation.seed))
        return "[]"

    streams = [stream("a", "b", id="long"), stream("c", id="short")]
    play(streams, told(look), quoting_reader(), count_words, siblings=2, seed=lambda e, g, t: 100 * e + 10 * g + t)
    assert asked == [
        *(("long", 0, 0), ("long", 0, 10), ("short", 0, 100), ("short", 0, 110)),
        *(("long", 1, 1), ("long", 1, 11)),
    ]
