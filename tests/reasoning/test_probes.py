from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from finemem_pipeline.credit import NEEDS as OF_SCHEMES
from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.errors import FinememError
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, Operation, Update
from finemem_pipeline.reasoning import Asked, Reply
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.probes import PROBES, Sample, older_questions, probe
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reasoning.scripted import ScriptedReasoner
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.rewards import NEEDS as OF_REWARDS
from finemem_pipeline.rollouts import Completion, Rollout, RolloutGroup, StepRecord

RED, BLUE, GREEN = "Ann has the red key.", "Bob has the blue key.", "Cid has the green key."


def asks(identifier: str, text: str, answer: str, until: int | None = None) -> Question:
    return Question(identifier, text, (answer,), until=until)


KEYS = Episode(
    "keys",
    "made",
    "AR",
    (
        Chunk(0, RED, (asks("k0", "Whose is the red key?", "Ann", until=2),)),
        Chunk(1, BLUE, (asks("k1", "Whose is the blue key?", "Bob"), asks("k2", "Blue?", "Bob"))),
        Chunk(2, GREEN, (asks("k3", "Whose is the green key?", "Cid"),)),
    ),
    (
        asks("red", "Who has the red key?", "Ann"),
        asks("blue", "Who has the blue key?", "Bob"),
        asks("none", "Why?", "nobody knows"),
    ),
)
KEEP: tuple[tuple[Operation, ...], ...] = ((Insert(RED),), (Insert(BLUE),), (Insert(GREEN),))


class Echo(ScriptedReasoner):
    """Says all that it was shown; counts the batches."""

    def __init__(self, fails: Sequence[Asked] = ()) -> None:
        super().__init__(
            lambda asked: Reply("", failure="timed out") if asked in fails else Reply(" ".join(asked.texts))
        )
        self.batches = 0

    def answer(self, asked: Sequence[Asked]) -> list[Reply]:
        self.batches += 1
        return super().answer(asked)


def played(
    *siblings: Sequence[Sequence[Operation]], episode: Episode = KEYS, k: int = 2, asked: int = 3
) -> RolloutGroup:
    """The rollouts of these operations, the first final questions and all chunk questions answered by an echo."""
    reader = Reader(BM25(), Echo(), k)
    rollouts = []
    for number, operations in enumerate(siblings):
        bank, steps = MemoryBank(), []
        for chunk, wanted in zip(episode.chunks, operations, strict=True):
            applied: list[Applied] = []
            for operation in wanted:
                bank, outcome = bank.apply(operation, chunk.index)
                applied.append(outcome)
            answers = tuple(reader.answer([(question, bank) for question in chunk.questions]))
            steps.append(StepRecord(chunk.index, Completion(""), tuple(applied), (), bank, 0, 1, answers))
        finals = tuple(reader.answer([(question, bank) for question in episode.questions[:asked]]))
        rollouts.append(Rollout(episode.id, number, tuple(steps), finals, tokens_read=len(steps)))
    return RolloutGroup(episode.id, tuple(rollouts))


def probed(
    group: RolloutGroup, *names: str, k: int = 2, reasoner: Echo | None = None, sample: Sample | None = None
) -> tuple[RolloutGroup, Reader, Echo]:
    """The probed group, the reader that did it, what it asked of the reasoner."""
    reasoner = reasoner or Echo()
    reader = Reader(BM25(), reasoner, k, cache=AnswerCache(), max_unscored_share=1.0)
    [found] = probe([group], [KEYS], reader, names, sample)
    return found, reader, reasoner


def test_there_is_a_probe_for_every_scheme_and_reward_that_reads_one():
    assert PROBES.keys() == {*OF_SCHEMES.values(), *OF_REWARDS.values()}


def test_leave_one_out_asks_each_right_answer_again_without_each_of_its_items():
    group, reader, reasoner = probed(played(KEEP), "without_one")
    [rollout] = group.rollouts
    assert [answer.score for answer in rollout.answers] == [1.0, 1.0, 0.0]
    assert reasoner.asked == [
        Asked("Who has the red key?", (GREEN,)),
        Asked("Who has the red key?", (RED,)),
        Asked("Who has the blue key?", (GREEN,)),
        Asked("Who has the blue key?", (BLUE,)),
    ]
    assert reader.usage.calls == sum(len(answer.evidence) for answer in rollout.answers if answer.score) == 4
    assert reasoner.batches == 1
    assert [(a.question_id, [item.id for item in a.evidence], a.score) for a in rollout.probes["without_one"]] == [
        ("red", ["m3"], 0.0),
        ("red", ["m1"], 1.0),
        ("blue", ["m3"], 0.0),
        ("blue", ["m2"], 1.0),
    ]


def test_what_is_left_keeps_its_order_and_scores():
    group, _, reasoner = probed(played(KEEP, k=3, asked=1), "without_one", k=3)
    assert [one.texts for one in reasoner.asked] == [(GREEN, BLUE), (RED, BLUE), (RED, GREEN)]
    [rollout] = group.rollouts
    whole = dict(zip(rollout.answers[0].evidence, rollout.answers[0].evidence_scores, strict=True))
    for answer in rollout.probes["without_one"]:
        assert answer.evidence_scores == tuple(whole[item] for item in answer.evidence)


@pytest.mark.parametrize(("k", "calls"), [(1, 1), (2, 3), (3, 7)])
def test_shapley_asks_every_smaller_set_of_items_once(k: int, calls: int):
    group, reader, reasoner = probed(played(KEEP, k=k, asked=1), "subsets", k=k)
    assert reader.usage.questions == reader.usage.calls == calls == 2**k - 1
    assert reasoner.batches == 1
    shown = [one.texts for one in reasoner.asked]
    assert shown == [(), (RED,), (GREEN,), (BLUE,), (RED, GREEN), (RED, BLUE), (GREEN, BLUE)][:calls]
    assert [answer.score for answer in group.rollouts[0].probes["subsets"]] == [float(RED in texts) for texts in shown]


def test_shapley_asks_about_wrong_answers_too_but_not_about_those_without_evidence():
    forgot = ((), (Insert(BLUE),), ())
    group, _, reasoner = probed(played(forgot), "subsets")
    assert [answer.score for answer in group.rollouts[0].answers] == [0.0, 1.0, 0.0]
    assert reasoner.asked == [Asked("Who has the red key?", ()), Asked("Who has the blue key?", ())]


def test_a_wrong_answer_has_no_score_to_lose():
    forgot = ((), (Insert(BLUE),), ())
    group, _, reasoner = probed(played(forgot), "without_one")
    assert [len(answer.evidence) for answer in group.rollouts[0].answers] == [1, 1, 0]
    assert reasoner.asked == [Asked("Who has the blue key?", ())]


def test_more_items_than_shapley_takes_are_refused_before_anything_is_asked():
    more = ((*KEEP[0], Insert("Dan has the key.")), *KEEP[1:])
    reasoner = Echo()
    with pytest.raises(FinememError, match=r"question red brought back 4 items .* 3 at most: lower reader\.k"):
        probed(played(more, k=4), "subsets", k=4, reasoner=reasoner)
    assert reasoner.asked == []


def test_tombstones_ask_once_where_a_deleted_item_would_have_been_among_the_best():
    deleted = (KEEP[0], (Insert(BLUE), Delete("m1")), KEEP[2])
    group, reader, reasoner = probed(played(deleted), "tombstones")
    [rollout] = group.rollouts
    assert [answer.score for answer in rollout.answers] == [0.0, 1.0, 0.0]
    # For the blue key the two best are alive, and "Why?" finds nothing.
    assert reasoner.asked == [Asked("Who has the red key?", (RED, GREEN))]
    assert reader.usage.calls == reasoner.batches == 1
    [found] = rollout.probes["tombstones"]
    assert (found.question_id, [item.id for item in found.evidence], found.score) == ("red", ["m1", "m3"], 1.0)


def test_a_deleted_item_lies_in_the_shadow_as_it_last_was():
    deleted = (KEEP[0], (Update("m1", "Zoe has the red key."),), (Delete("m1"),))
    _, _, reasoner = probed(played(deleted), "tombstones")
    assert reasoner.asked == [
        Asked("Who has the red key?", ("Zoe has the red key.",)),
        Asked("Who has the blue key?", ("Zoe has the red key.",)),
    ]


def test_without_a_deletion_nothing_is_asked():
    group, reader, _ = probed(played(KEEP), "tombstones")
    assert reader.usage.questions == 0
    assert group.rollouts[0].probes == {"tombstones": ()}


@pytest.mark.parametrize("name", ["without_one", "subsets", "tombstones"])
def test_an_unscored_answer_is_not_probed(name: str):
    group = played((KEEP[0], (Delete("m1"),), (Insert(RED), Insert(BLUE))), asked=1)
    [rollout] = group.rollouts
    failed = tuple(replace(answer, score=None) for answer in rollout.answers)
    _, reader, _ = probed(replace(group, rollouts=(replace(rollout, answers=failed),)), name)
    assert reader.usage.questions == 0
    _, reader, _ = probed(group, name)
    assert reader.usage.questions > 0


def test_only_the_final_questions_that_were_asked_are_probed():
    _, _, reasoner = probed(played(KEEP, asked=1), "without_one", "subsets")
    assert {one.question for one in reasoner.asked} == {"Who has the red key?"}


def test_delta_chunk_asks_each_chunk_from_the_memory_before_it():
    group, reader, reasoner = probed(played(KEEP), "before")
    assert reasoner.asked == [
        Asked("Whose is the red key?", ()),
        Asked("Whose is the blue key?", (RED,)),
        Asked("Blue?", ()),
        Asked("Whose is the green key?", (BLUE, RED)),
    ]
    assert (reader.usage.calls, reasoner.batches) == (4, 1)
    [rollout] = group.rollouts
    assert [[a.question_id for a in step.probes["before"]] for step in rollout.steps] == [["k0"], ["k1", "k2"], ["k3"]]
    assert [[a.score for a in step.probes["before"]] for step in rollout.steps] == [[0.0], [0.0, 0.0], [0.0]]


def test_qa_gain_asks_each_chunk_question_once_however_many_siblings_and_updates():
    group, reader, reasoner = probed(played(KEEP, ((), (), ()), KEEP), "no_memory")
    assert reasoner.asked == [Asked(question.text, ()) for chunk in KEYS.chunks for question in chunk.questions]
    assert (reader.usage.questions, reader.usage.calls) == (12, 4)
    for rollout in group.rollouts:
        assert [[a.question_id for a in s.probes["no_memory"]] for s in rollout.steps] == [["k0"], ["k1", "k2"], ["k3"]]
    probe([group], [KEYS], reader, ["no_memory"])
    assert reader.usage.calls == 4


def test_siblings_share_the_counterfactuals_they_have_in_common():
    _, reader, _ = probed(played(KEEP, KEEP), "without_one", "subsets")
    # Without one of two is also a set of one: 4 + 4 questions each, of which the 4 and the empty set of two are asked.
    assert reader.usage.calls == 6


def test_retention_asks_older_questions_of_the_memory_after_the_step():
    forgetful = (KEEP[0], (Insert(BLUE), Delete("m1")), KEEP[2])
    group, reader, reasoner = probed(played(KEEP, forgetful), "older", sample=Sample(size=9))
    kept, forgot = group.rollouts
    assert [[a.question_id for a in step.probes["older"]] for step in kept.steps[:2]] == [[], ["k0"]]
    assert {a.question_id for a in kept.steps[2].probes["older"]} == {"k1", "k2"}  # the answer to k0 has changed
    assert [a.score for a in kept.steps[1].probes["older"]] == [1.0]
    assert [a.score for a in forgot.steps[1].probes["older"]] == [0.0]
    assert Asked("Whose is the red key?", (RED, BLUE)) in reasoner.asked
    assert Asked("Whose is the red key?", (BLUE,)) in reasoner.asked
    assert reader.usage.questions == 6
    assert reasoner.batches == 1


LONG = Episode(
    "long",
    "made",
    "AR",
    tuple(
        Chunk(t, str(t), tuple(asks(f"{t}{c}", "?", "x", until=t + 3 if c == "a" and t < 7 else None) for c in "abc"))
        for t in range(10)
    ),
    (),
)


def test_older_questions_are_of_earlier_chunks_still_true_and_as_many_as_wanted():
    for t, drawn in enumerate(older_questions(LONG, Sample(size=4))):
        names = [question.id for question in drawn]
        still = {f"{u}{c}" for u in range(t) for c in "abc"} - {f"{u}a" for u in range(t - 2)}
        assert len(names) == len(set(names)) == min(4, len(still))
        assert set(names) <= still
    everything = older_questions(LONG, Sample(size=99))
    assert {question.id for question in everything[3]} == {"0b", "0c", "1a", "1b", "1c", "2a", "2b", "2c"}


def test_older_questions_are_drawn_by_seed_and_stream():
    drawn = older_questions(LONG, Sample(3, seed=1))
    assert older_questions(LONG, Sample(3, seed=1)) == drawn
    assert older_questions(LONG, Sample(3, seed=2)) != drawn
    assert older_questions(replace(LONG, id="other"), Sample(3, seed=1)) != drawn
    chosen = {question.id for step in drawn for question in step}
    assert len(chosen) > 10  # not the same few at every step


def test_an_answer_that_fails_is_kept_as_unscored():
    fails = [Asked("Who has the red key?", (GREEN,))]
    group, reader, _ = probed(played(KEEP), "without_one", reasoner=Echo(fails))
    first, second, *_ = group.rollouts[0].probes["without_one"]
    assert (first.score, first.failure) == (None, "timed out")
    assert second.score == 1.0
    assert reader.usage.unscored == 1


def test_probes_of_several_groups_go_to_their_own_and_earlier_probes_stay():
    other = replace(KEYS, id="other", questions=(asks("green", "Who has the green key?", "Cid"),))
    groups = [played(KEEP, ((), (), ())), played(KEEP, episode=other)]
    reasoner = Echo()
    reader = Reader(BM25(), reasoner)
    groups = probe(groups, [KEYS, other], reader, ["subsets", "before"])
    groups = probe(groups, [KEYS, other], reader, ["without_one", "no_memory"])
    assert reasoner.batches == 4
    kept, empty = groups[0].rollouts
    assert [len(kept.probes[name]) for name in ("subsets", "without_one")] == [6, 4]
    assert (empty.probes, set(empty.steps[0].probes)) == (
        {"subsets": (), "without_one": ()},
        {"before", "no_memory"},
    )
    [alone] = groups[1].rollouts
    assert {answer.question_id for answer in alone.probes["without_one"]} == {"green"}
    assert [group.episode_id for group in groups] == ["keys", "other"]


def test_a_name_that_is_no_probe_is_told_with_the_nearest():
    with pytest.raises(FinememError, match=r"probes: 'without_on' is not a known probe. Did you mean 'without_one'\?"):
        probed(played(KEEP), "before", "without_on")
