"""What every scheme promises."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.credit import NEEDS, SCHEMES, retrieved
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, MemoryItem
from finemem_pipeline.rollouts import Answer, Completion, Rollout, StepRecord

CONSERVING = sorted(SCHEMES.keys() - {"tombstone"})
SCORES = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
REPLIES = st.one_of(st.none(), SCORES, SCORES, SCORES)  # of four, one fails


def record(steps: int, answers: list[Answer], probes: dict[str, list[Answer]], graves: list[MemoryItem]) -> Rollout:
    """Deleted items were written at step 0, and step i, counted round, deleted the one at place i."""
    operations: list[list[Applied]] = [[] for _ in range(steps)]
    operations[0] = [Applied(Insert(""), item.id) for item in graves]
    for place, item in enumerate(graves):
        operations[place % steps].append(Applied(Delete(item.id), item.id))
    return Rollout(
        "e",
        0,
        tuple(StepRecord(t, Completion(""), tuple(operations[t]), (), MemoryBank(), 0, 1) for t in range(steps)),
        tuple(answers),
        tokens_read=steps,
        probes={name: tuple(found) for name, found in probes.items()},
    )


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    """Answers, scored or not, from nothing or from up to three items, some of the same step, and all their probes."""
    steps = draw(st.integers(1, 6))
    writes = st.lists(st.integers(0, steps - 1), min_size=1, max_size=3).map(lambda found: tuple(sorted(found)))
    items = [MemoryItem(f"m{n}", "", draw(writes)) for n in range(1, draw(st.integers(1, 5)) + 1)]
    graves = [MemoryItem(f"m{n}", "", (0,)) for n in range(6, 6 + draw(st.integers(0, 3)))]
    answers = []
    probes: dict[str, list[Answer]] = {name: [] for name in NEEDS.values()}
    for j in range(draw(st.integers(1, 6))):
        shown = draw(st.lists(st.sampled_from(items), unique=True, max_size=3))
        fits = draw(st.lists(st.floats(0, 20), min_size=len(shown), max_size=len(shown)))
        cited = draw(st.lists(st.sampled_from([*(item.id for item in shown), "m99"]), unique=True, max_size=2))
        answers.append(Answer(f"q{j}", "", tuple(shown), tuple(fits), tuple(cited), draw(REPLIES)))
        for size in range(len(shown)):
            for some in combinations(shown, size):
                part = Answer(f"q{j}", "", some, score=draw(REPLIES))
                probes["subsets"].append(part)
                if size == len(shown) - 1:
                    probes["without_one"].append(part)
        if graves and draw(st.booleans()):
            back = draw(st.lists(st.sampled_from(graves), unique=True, min_size=1))
            probes["tombstones"].append(Answer(f"q{j}", "", (*back, *shown[:1]), score=draw(REPLIES)))
    if all(answer.score is None for answer in answers):
        answers[0] = replace(answers[0], score=draw(SCORES))
    return record(steps, answers, probes, graves)


@st.composite
def twins(draw: st.DrawFn) -> Rollout:
    """Steps 0 and 1 each wrote an item and deleted another, and no answer tells the two steps apart; step 2 differs."""
    one, two, third = (MemoryItem(f"m{t + 1}", "", (t,)) for t in range(3))
    answers = []
    probes: dict[str, list[Answer]] = {name: [] for name in NEEDS.values()}
    graves = [MemoryItem("m6", "", (0,)), MemoryItem("m7", "", (0,))]
    for j in range(draw(st.integers(1, 4))):
        shown = draw(st.permutations([one, two, *draw(st.sampled_from([[], [third]]))]))
        fit = {"m1": 2.0, "m2": 2.0, "m3": draw(st.floats(0, 4))}
        cited = draw(st.sampled_from([(), ("m1", "m2"), ("m3",)]))
        worth = draw(st.lists(SCORES, min_size=6, max_size=6))  # by how many of the twins are shown, third or not
        score = worth[2 + 3 * (len(shown) - 2)]
        answers.append(Answer(f"q{j}", "", tuple(shown), tuple(fit[item.id] for item in shown), cited, score))
        for size in range(len(shown)):
            for some in combinations(shown, size):
                pair = sum(item is not third for item in some)
                part = Answer(f"q{j}", "", some, score=worth[pair + 3 * (len(some) - pair)])
                probes["subsets"].append(part)
                if size == len(shown) - 1:
                    probes["without_one"].append(part)
        probes["tombstones"].append(Answer(f"q{j}", "", (*graves, third), score=draw(REPLIES)))
    return record(3, answers, probes, graves)


def renumbered(rollout: Rollout, order: random.Random) -> Rollout:
    """The same questions under other names and in another order, their probes too."""

    def other(answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        named = [replace(answer, question_id=f"p{9 - int(answer.question_id[1:])}") for answer in answers]
        return tuple(order.sample(named, len(named)))

    return replace(
        rollout,
        answers=other(rollout.answers),
        probes={name: other(found) for name, found in rollout.probes.items()},
    )


def mean_score(rollout: Rollout) -> float:
    scores = [answer.score for answer in rollout.answers if answer.score is not None]
    return math.fsum(scores) / len(scores)


@given(rollouts())
def test_credit_adds_up_to_the_mean_of_the_scored_answers(rollout: Rollout):
    for name in CONSERVING:
        credit = SCHEMES[name](rollout)
        assert credit.shape == (len(rollout.steps),), name
        assert abs(math.fsum(credit) - mean_score(rollout)) <= 1e-12, name


@given(rollouts())
def test_credit_is_never_negative_where_no_charge_is_claimed(rollout: Rollout):
    for name in SCHEMES.keys() - {"tombstone", "shapley"}:
        assert (SCHEMES[name](rollout) >= 0).all(), name


@given(rollouts())
def test_the_charges_of_tombstones_are_extra(rollout: Rollout):
    charges = retrieved(rollout) - SCHEMES["tombstone"](rollout)
    scores = {answer.question_id: answer.score for answer in rollout.answers if answer.score is not None}
    missed = [
        max(0.0, back.score - scores[back.question_id])
        for back in rollout.probes["tombstones"]
        if back.score is not None and back.question_id in scores
    ]
    assert (charges >= -1e-12).all()
    assert math.isclose(math.fsum(charges), math.fsum(missed) / len(scores), abs_tol=1e-12)


@given(rollouts(), st.randoms(use_true_random=False))
def test_questions_may_have_any_names_and_any_order(rollout: Rollout, order: random.Random):
    other = renumbered(rollout, order)
    for name, scheme in SCHEMES.items():
        assert np.allclose(scheme(other), scheme(rollout), rtol=0, atol=1e-12), name


@given(twins())
def test_two_items_that_play_the_same_part_get_the_same(rollout: Rollout):
    for name, scheme in SCHEMES.items():
        credit = scheme(rollout)
        assert math.isclose(credit[0], credit[1], abs_tol=1e-12), name


@given(rollouts())
def test_an_answer_that_failed_is_as_good_as_not_asked(rollout: Rollout):
    answered = replace(rollout, answers=tuple(answer for answer in rollout.answers if answer.score is not None))
    for name, scheme in SCHEMES.items():
        assert scheme(rollout).tobytes() == scheme(answered).tobytes(), name


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_without_any_score_there_is_nothing_to_share(name: str):
    rollout = record(2, [Answer("q0", "", failure="timed out")], {probe: [] for probe in NEEDS.values()}, [])
    with pytest.raises(ValueError, match="nothing to share"):
        SCHEMES[name](rollout)


@pytest.mark.parametrize(("name", "probe"), sorted(NEEDS.items()))
def test_a_scheme_that_reads_probes_asks_for_them(name: str, probe: str):
    rollout = record(2, [Answer("q0", "", score=1.0)], {}, [])
    with pytest.raises(ValueError, match=f"e/0 was not probed for '{probe}': reasoning.probes collects"):
        SCHEMES[name](rollout)
