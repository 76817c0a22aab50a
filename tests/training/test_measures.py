from __future__ import annotations

from dataclasses import replace

import pytest

from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, Skip, Update
from finemem_pipeline.rewards import NEEDS, REWARDS, score_group, variant
from finemem_pipeline.rollouts import Answer, Completion, Rollout, RolloutGroup, StepRecord
from finemem_pipeline.training.measures import copied_share, learned_tokens, step_measures
from finemem_pipeline.training.samples import StepSample

FINE_MEM = variant(
    "fine_mem",
    {
        "outcome": {"weight": 1.0, "spread": {"scheme": "retrieved", "beta": 0.5}},
        "chunk": {"weight": 0.5},
        "format": {"weight": 1.0},
        "compression": {"weight": 0.05},
    },
)


def rollout(sibling: int, operations, malformed=(), final=(1.0,), chunk=(), length=4, tokens=20, finish="stop"):
    """One step over a chunk of 100 tokens."""
    said = Completion("", (1,) * 10, (2,) * length, finish=finish)
    answers = tuple(Answer(f"c{n}", "", score=score) for n, score in enumerate(chunk))
    record = StepRecord(0, said, tuple(operations), tuple(malformed), MemoryBank(), tokens, 100, answers)
    return Rollout("e", sibling, (record,), tuple(Answer(f"q{n}", "", score=s) for n, s in enumerate(final)), 100)


def measured(*rollouts: Rollout, seconds=None) -> dict[str, float | None]:
    group = RolloutGroup("e", rollouts)
    return step_measures([group], [score_group(group, FINE_MEM)], seconds or {})


DONE, REFUSED = Applied(Insert("a"), "m1"), Applied(Delete("m9"), refused="no item m9")


def test_operations_are_counted_per_step_by_kind_and_shares_among_what_was_written():
    row = measured(
        rollout(0, [DONE, DONE, REFUSED, Applied(Update("m1", "b"), "m1")], malformed=["{"]),
        rollout(1, [Applied(Skip())]),
    )
    assert {kind: row[f"operations/{kind}"] for kind in ("insert", "update", "delete", "skip")} == {
        "insert": 1.0, "update": 0.5, "delete": 0.5, "skip": 0.5,
    }  # fmt: skip
    assert row["operations/refused_share"] == pytest.approx(1 / 5)
    assert row["operations/malformed_share"] == pytest.approx(1 / 6)


def test_memory_and_completions_are_means():
    row = measured(rollout(0, [DONE], tokens=20, length=4), rollout(1, [DONE], tokens=40, length=8, finish="length"))
    assert row["memory/tokens"] == 30
    assert row["memory/share_of_text"] == pytest.approx(0.3)
    assert row["completion/length"] == 6
    assert row["completion/cut_share"] == 0.5
    assert (row["tokens"], row["tokens_said"]) == (2 * 10 + 12, 12)


def test_scores_are_means_over_what_is_scored_and_the_rest_is_counted():
    row = measured(
        rollout(0, [DONE], final=(1.0, None), chunk=(0.0, None)), rollout(1, [DONE], final=(0.0, 1.0), chunk=(1.0, 1.0))
    )
    assert row["outcome"] == pytest.approx(2 / 3)
    assert row["chunk_accuracy"] == pytest.approx(2 / 3)
    assert row["reader/unscored"] == 2


def test_a_counterfactual_answer_that_failed_is_counted_as_unscored():
    played = replace(
        rollout(0, [DONE]), probes={"subsets": (Answer("q0", "", score=None), Answer("q0", "", score=0.0))}
    )
    step = replace(played.steps[0], probes={"before": (Answer("c0", "", score=None),)})
    assert measured(replace(played, steps=(step,)), rollout(1, [DONE]))["reader/unscored"] == 2


def test_every_reward_has_its_mean_and_its_share_of_the_variance():
    row = measured(rollout(0, [DONE], final=(1.0,)), rollout(1, [DONE, REFUSED], final=(0.0,)))
    assert row["reward/outcome"] == 0.5
    assert row["reward/format"] == 0.75
    assert row["reward/compression"] == pytest.approx(0.8)
    assert row["reward/chunk"] is None  # the chunk has no questions
    assert row["share/outcome"] == pytest.approx(2 / 3)  # 1.0 apart, format only 0.5
    assert sum(row[f"share/{name}"] for name in set(REWARDS) - set(NEEDS)) == pytest.approx(1.0)


def test_siblings_that_are_alike_make_a_dead_column_without_shares():
    row = measured(rollout(0, [DONE]), rollout(1, [DONE]))
    assert (row["groups/columns"], row["groups/dead_columns"]) == (1, 1)
    assert {row[f"share/{name}"] for name in set(REWARDS) - set(NEEDS)} == {None}


def test_a_sibling_with_a_failed_chunk_answer_is_counted_as_excluded():
    three = [rollout(g, [DONE], final=(float(g),), chunk=(1.0,)) for g in range(2)]
    row = measured(*three, rollout(2, [DONE], chunk=(None,)))
    assert (row["groups/excluded"], row["groups/dropped"], row["groups/dead_columns"]) == (1, 0, 0)


def test_a_group_without_a_common_scored_question_is_counted_as_dropped():
    row = measured(rollout(0, [DONE], final=(None,)), rollout(1, [DONE], final=(1.0,)))
    assert (row["groups/dropped"], row["reward/total"]) == (1, None)


def test_seconds_are_told_by_phase():
    row = measured(rollout(0, [DONE]), rollout(1, [DONE]), seconds={"generate": 2.0, "read": 0.5})
    assert (row["seconds/generate"], row["seconds/read"]) == (2.0, 0.5)


def test_where_nothing_was_written_there_is_no_share():
    row = measured(rollout(0, []), rollout(1, []))
    assert row["operations/refused_share"] is None
    assert row["operations/malformed_share"] is None


def read(text: str) -> dict[str, Episode]:
    return {"e": Episode("e", "planted", "AR", (Chunk(0, text),), ())}


def copied(text: str, *operations: Applied) -> float | None:
    return copied_share([RolloutGroup("e", (rollout(0, operations),))], read(text))


def test_copied_is_what_a_step_writes_of_the_words_that_it_reads():
    text = "Ada moved to Mill Lane. Ada likes rain."
    assert copied(text, Applied(Insert(text), "m1")) == 1.0
    assert copied(text, Applied(Insert("ada: Mill Lane, 12"), "m1")) == 3 / 8  # 12 does not stand in the chunk
    assert (
        copied(text, Applied(Insert("Ada moved to Mill Lane."), "m1"), Applied(Update("m1", "Ada likes"), "m1"))
        == 7 / 8
    )
    assert copied(text, Applied(Insert("Ada Ada Ada"), "m1")) == 2 / 8
    assert (
        copied(text, Applied(Update("m9", text), refused="no item m9"), Applied(Skip()), Applied(Delete("m1"))) == 0.0
    )
    assert copied("", Applied(Insert("Ada"), "m1")) is None


def test_copied_is_a_mean_over_all_that_siblings_read():
    group = RolloutGroup("e", (rollout(0, [Applied(Insert("rain"), "m1")]), rollout(1, [])))
    assert copied_share([group], read("rain again")) == 0.25


def test_learned_are_the_tokens_of_the_rows_that_move_the_policy():
    def row(advantage, filler=False):
        return StepSample((1,) * 10, (2,) * 4, (), advantage, ("e", 0, 0), filler)

    rows = [row(0.5), row(-1.0), row(0.0), row(0.0, filler=True)]
    assert learned_tokens(rows, every=False) == 28
    assert learned_tokens(rows, every=True) == 42
