from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.credit import MovingBaseline
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, MemoryItem
from finemem_pipeline.rewards import NEEDS, REWARDS, score_group, score_rollout, variance_shares, variant
from finemem_pipeline.rollouts import Answer, Completion, Rollout, RolloutGroup, StepRecord

FORMAT_AND_COMPRESSION = {"format": {"weight": 1.0}, "compression": {"weight": 0.05}}
RETRIEVED = {"outcome": {"weight": 1.0, "spread": {"scheme": "retrieved", "beta": 0.5}}}
UNIFORM = {"outcome": {"weight": 1.0, "spread": {"scheme": "uniform"}}}
CHUNK = {"chunk": {"weight": 0.5}}

FINE_MEM = variant("fine_mem", {**RETRIEVED, **CHUNK, **FORMAT_AND_COMPRESSION})
OUTCOME_ONLY = variant("outcome_only", {**UNIFORM, **FORMAT_AND_COMPRESSION})
CSR_ONLY = variant("csr_only", {**UNIFORM, **CHUNK, **FORMAT_AND_COMPRESSION})
EARA_ONLY = variant("eara_only", {**RETRIEVED, **FORMAT_AND_COMPRESSION})

REFUSED = (Applied(Delete("m9"), refused="no item m9"),)


@pytest.fixture
def rollout(play):
    """r_global = 0.5, N = (0.25, 0.25), r_chunk = (1, 0), r_fmt = (1, 0), r_comp = 0.8."""
    return play(
        final=[1.0, 0.0],
        evidence=[[0, 1], [1]],
        chunks=[[1.0], [0.0]],
        operations=[[Applied(Insert("a"), "m1")], REFUSED],
        final_tokens=20,
        tokens_read=100,
    )


@pytest.mark.parametrize(
    ("chosen", "total"),
    [
        (OUTCOME_ONLY, [0.25 + 1 + 0.04, 0.25 + 0 + 0.04]),
        (CSR_ONLY, [0.25 + 1 + 0.5 + 0.04, 0.25 + 0 + 0 + 0.04]),
        (EARA_ONLY, [0.25 + 1 + 0.04, 0.25 + 0 + 0.04]),
        (FINE_MEM, [0.25 + 1 + 0.5 + 0.04, 0.25 + 0 + 0 + 0.04]),
    ],
)
def test_the_totals_of_the_four_variants(rollout, chosen, total: list[float]):
    assert np.allclose(score_rollout(rollout, chosen).total, total, atol=1e-15)


def test_evidence_moves_half_of_the_outcome_to_the_step_that_wrote_it(play):
    breakdown = score_rollout(play(final=[1.0, 1.0], evidence=[[1], [1]], chunks=[[], [], [], []]), EARA_ONLY)
    assert breakdown.terms["outcome"].tolist() == [0.125, 0.625, 0.125, 0.125]
    assert breakdown.terms["outcome"].sum() == 1.0


def test_scale_t_pays_the_same_per_step_whatever_the_length(play):
    scaled = variant("scaled", {"outcome": {"weight": 1, "spread": {"scheme": "retrieved", "beta": 0.5, "scale": "T"}}})
    for steps in (2, 8):
        rollout = play(final=[1.0], evidence=[[0]], chunks=[[]] * steps)
        assert score_rollout(rollout, scaled).terms["outcome"].mean() == 1.0


def test_every_reward_is_reported_whatever_the_variant_weighs(rollout):
    breakdown = score_rollout(rollout, OUTCOME_ONLY)
    assert set(breakdown.terms) == set(breakdown.weights) == set(REWARDS) - set(NEEDS)
    assert {name: weight for name, weight in breakdown.weights.items() if weight} == {
        "outcome": 1.0,
        "format": 1.0,
        "compression": 0.05,
    }
    assert breakdown.terms["chunk"].tolist() == [1.0, 0.0]
    assert breakdown.terms["compression"].tolist() == [0.8, 0.8]


def test_a_chunk_without_questions_has_no_term_and_the_others_add_up(play):
    breakdown = score_rollout(play(final=[1.0], chunks=[[], [1.0]], final_tokens=100), CSR_ONLY)
    assert math.isnan(breakdown.terms["chunk"][0])
    assert breakdown.total.tolist() == [1.5, 2.0]


def test_a_stream_without_final_questions_is_paid_by_the_other_terms(play):
    group = RolloutGroup("e", (play(final=[], chunks=[[1.0], [1.0]]), play(final=[], chunks=[[0.0], [1.0]])))
    scored = score_group(group, CSR_ONLY)
    assert scored.dropped is None
    assert scored.advantages[0, 0] > 0
    assert scored.excluded == 0


def test_a_failed_answer_leaves_the_step_without_a_reward(play):
    rollout = play(final=[1.0], chunks=[[1.0, None], [1.0]])
    assert np.isnan(score_rollout(rollout, CSR_ONLY).total).tolist() == [True, False]
    assert np.isnan(score_rollout(rollout, OUTCOME_ONLY).total).tolist() == [False, False]
    unanswered = play(final=[None], chunks=[[1.0], [1.0]])
    assert np.isnan(score_rollout(unanswered, FINE_MEM).total).all()


def test_a_sibling_whose_answers_failed_is_left_out_of_that_step(play):
    group = RolloutGroup("e", (play(chunks=[[None], [0.0]]), play(chunks=[[1.0], [0.0]]), play(chunks=[[0.0], [1.0]])))
    scored = score_group(group, CSR_ONLY)
    assert scored.excluded == 1
    assert scored.advantages[0, 0] == 0.0
    assert np.allclose(scored.advantages[:, 0], [0, 1 / 2**0.5, -1 / 2**0.5], atol=1e-3)
    assert scored.advantages[0, 1] < 0


def test_siblings_are_compared_on_the_questions_that_all_have_scored(play):
    group = RolloutGroup("e", (play(final=[1.0, 0.0, None]), play(final=[1.0, None, 1.0])))
    scored = score_group(group, OUTCOME_ONLY)
    assert scored.questions == ("q0",)
    assert scored.dropped is None
    assert scored.dead_columns == 2
    assert (scored.advantages == 0).all()
    assert [breakdown.terms["outcome"].tolist() for breakdown in scored.breakdowns] == [[0.5, 0.5], [0.5, 0.5]]


def test_a_group_without_a_common_question_is_dropped(play):
    group = RolloutGroup("e", (play(final=[1.0, None]), play(final=[None, 0.0])))
    scored = score_group(group, FINE_MEM)
    assert scored.dropped == "no final question is scored for every sibling"
    assert scored.questions == ()
    assert (scored.advantages == 0).all()
    assert np.isnan(scored.rewards).all()
    assert scored.variance_shares == {}
    assert scored.breakdowns[0].terms["outcome"].tolist() == [0.5, 0.5]


def test_a_single_sibling_is_refused(play):
    with pytest.raises(ValueError, match="G must be at least 2"):
        score_group(RolloutGroup("e", (play(),)), FINE_MEM)


@pytest.mark.parametrize("advantage", ["pooled", "per_term", "return_to_go"])
def test_a_single_sibling_is_refused_by_every_advantage_that_compares_siblings(play, advantage: str):
    chosen = variant("mine", {"advantage": advantage, **CHUNK})
    with pytest.raises(ValueError, match="G must be at least 2"):
        score_group(RolloutGroup("e", (play(),)), chosen)


def test_a_single_sibling_is_compared_with_the_baseline_of_the_run(play):
    chosen = variant("mine", {"advantage": "moving_average", "chunk": {"weight": 1.0}})
    baseline = MovingBaseline()
    first, second = (RolloutGroup("e", (play(chunks=[[score], []]),)) for score in (0.0, 1.0))
    assert score_group(first, chosen, baseline).advantages.tolist() == [[0.0, 0.0]]
    assert score_group(second, chosen, baseline).advantages.tolist() == [[1 / (1 + 1e-4), 0.0]]
    assert score_group(second, chosen).advantages.tolist() == [[0.0, 0.0]]  # without a baseline nothing came before


def test_a_dropped_group_teaches_the_baseline_nothing(play):
    chosen = variant("mine", {"advantage": "moving_average", **RETRIEVED})
    baseline = MovingBaseline()
    scored = score_group(RolloutGroup("e", (play(final=[None]),)), chosen, baseline)
    assert scored.dropped is not None
    assert not scored.advantages.any()
    assert baseline == MovingBaseline(means=[None, None])


def test_a_scheme_shares_the_part_of_the_outcome_that_beta_gives_it(play):
    chosen = variant("mine", {"outcome": {"weight": 1.0, "spread": {"scheme": "cited", "beta": 0.25}}})
    breakdown = score_rollout(play(final=[1.0], evidence=[[1]], chunks=[[], []]), chosen)
    assert breakdown.terms["outcome"].tolist() == [0.375, 0.625]


def test_a_reward_that_reads_probes_is_there_where_it_is_named(play):
    rollout = play(chunks=[[1.0], [1.0]], probes={"before": [[0.0], [0.5]]})
    named = score_rollout(rollout, variant("mine", {"delta_chunk": {"weight": 2.0}}))
    assert named.terms["delta_chunk"].tolist() == [1.0, 0.5]
    assert named.total.tolist() == [2.0, 1.0]


def test_variance_shares_tell_which_reward_steers(play):
    chunk_only = RolloutGroup("e", (play(chunks=[[1.0], [0.0]]), play(chunks=[[0.0], [0.0]])))
    shares = score_group(chunk_only, FINE_MEM).variance_shares
    assert shares == pytest.approx({**dict.fromkeys(REWARDS, 0.0), "chunk": 1.0})

    both = RolloutGroup(  # r_fmt 1 and 0 against 0.5·r_chunk 0.5 and 0: two thirds and one third of the difference
        "e", (play(chunks=[[1.0]]), play(chunks=[[0.0]], operations=[REFUSED]))
    )
    shares = score_group(both, CSR_ONLY).variance_shares
    assert math.isclose(shares["format"], 2 / 3)
    assert math.isclose(shares["chunk"], 1 / 3)


def test_shares_of_several_groups_weigh_each_by_its_variance(play):
    loud = score_group(RolloutGroup("e", (play(chunks=[[]]), play(chunks=[[]], operations=[REFUSED]))), CSR_ONLY)
    quiet = score_group(RolloutGroup("e", (play(chunks=[[0.5]]), play(chunks=[[0.0]]))), CSR_ONLY)
    silent = score_group(RolloutGroup("e", (play(), play())), CSR_ONLY)
    shares = variance_shares([loud, quiet, silent])  # differences 1 and 0.25
    assert math.isclose(shares["format"], 1 / (1 + 0.25**2))
    assert variance_shares([silent]) == {}


@st.composite
def groups(draw: st.DrawFn) -> RolloutGroup:
    """Siblings with any scores, failures and operations; questions and T are shared."""
    steps, finals = draw(st.integers(1, 4)), draw(st.integers(0, 4))
    asked = draw(st.lists(st.integers(0, 2), min_size=steps, max_size=steps))
    scores = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.none())
    operations = st.lists(st.sampled_from([Applied(Insert("a"), "m1"), *REFUSED]), min_size=1, max_size=3)

    def sibling(number: int) -> Rollout:
        records = [
            StepRecord(
                step=t,
                completion=Completion(""),
                operations=tuple(draw(operations)),
                malformed=(),
                bank=MemoryBank(),
                bank_tokens=draw(st.integers(0, 20)),
                chunk_tokens=10,
                answers=tuple(Answer(f"c{t}q{j}", "", score=draw(scores)) for j in range(asked[t])),
            )
            for t in range(steps)
        ]
        writers = st.lists(st.integers(0, steps - 1), max_size=2)
        answers = [
            Answer(f"q{j}", "", tuple(MemoryItem(f"m{t}", "", (t,)) for t in draw(writers)), score=draw(scores))
            for j in range(finals)
        ]
        return Rollout("e", number, tuple(records), tuple(answers), tokens_read=10 * steps)

    return RolloutGroup("e", tuple(sibling(g) for g in range(draw(st.integers(2, 4)))))


@given(groups(), st.sampled_from([FINE_MEM, OUTCOME_ONLY, CSR_ONLY, EARA_ONLY]))
def test_shares_add_up_to_one_and_nothing_unscored_is_paid(group: RolloutGroup, chosen):
    scored = score_group(group, chosen)
    assert scored.rewards.shape == scored.advantages.shape == (len(group.rollouts), len(group.rollouts[0].steps))
    assert np.isfinite(scored.advantages).all()
    assert (scored.advantages[np.isnan(scored.rewards)] == 0).all()
    assert scored.excluded == np.isnan(scored.rewards).sum()
    if (np.abs(scored.advantages) > 1e-3).any():
        assert math.isclose(sum(scored.variance_shares.values()), 1.0, abs_tol=1e-9)


@given(groups())
def test_the_outcome_terms_add_up_to_r_global(group: RolloutGroup):
    for rollout in group.rollouts:
        scores = [answer.score for answer in rollout.answers if answer.score is not None]
        terms = score_rollout(rollout, FINE_MEM).terms["outcome"]
        if scores:
            assert math.isclose(math.fsum(terms), sum(scores) / len(scores), abs_tol=1e-12)
        else:
            assert np.isnan(terms).all()
