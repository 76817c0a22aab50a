from __future__ import annotations

import pytest

from finemem_pipeline.rewards import Spread, Term, Variant, VariantError, variant


def test_a_mapping_becomes_a_variant():
    mapping = {
        "outcome": {"weight": 1.0, "spread": {"scheme": "retrieved", "beta": 0.25, "scale": "T"}},
        "chunk": {"weight": 0.5},
        "compression": {"weight": 0, "spread": {"scheme": "uniform"}},
    }
    assert variant("mine", mapping) == Variant(
        "mine",
        {
            "outcome": Term(1.0, Spread("retrieved", 0.25, "T")),
            "chunk": Term(0.5),
            "compression": Term(0.0, Spread("uniform")),
        },
    )


def test_siblings_are_compared_at_the_same_step_unless_the_variant_says_otherwise():
    assert variant("mine", {"chunk": {"weight": 1}}).advantage == "same_step"
    assert variant("mine", {"advantage": "pooled", "chunk": {"weight": 1}}) == Variant(
        "mine", {"chunk": Term(1.0)}, "pooled"
    )


@pytest.mark.parametrize(
    ("mapping", "probes"),
    [
        ({"chunk": {"weight": 1}, "outcome": {"weight": 1, "spread": {"scheme": "lineage"}}}, ()),
        ({"outcome": {"weight": 1, "spread": {"scheme": "leave_one_out"}}}, ("without_one",)),
        ({"outcome": {"weight": 1, "spread": {"scheme": "shapley"}}}, ("subsets",)),
        (
            {
                "retention": {"weight": 0.5},
                "delta_chunk": {"weight": 0.5},
                "qa_gain": {"weight": 0},
                "outcome": {"weight": 1, "spread": {"scheme": "tombstone"}},
            },
            ("tombstones", "older", "before", "no_memory"),
        ),
    ],
)
def test_a_variant_names_the_probes_that_its_schemes_and_rewards_read(mapping, probes: tuple[str, ...]):
    assert variant("mine", mapping).probes == probes


@pytest.mark.parametrize(
    ("mapping", "complaint"),
    [
        (
            {"compresion": {"weight": 1}},
            "rewards.mine: 'compresion' is not a known reward. Did you mean 'compression'?",
        ),
        ({"chunk": {"wieght": 1}}, "rewards.mine.chunk: 'wieght' is not a known field. Did you mean 'weight'?"),
        (
            {"outcome": {"weight": 1, "spread": {"scheme": "retreived"}}},
            "rewards.mine.outcome.spread.scheme: 'retreived' is not a known scheme. Did you mean 'retrieved'?",
        ),
        (
            {"outcome": {"weight": 1, "spread": {"scheme": "uniform", "bta": 1}}},
            "rewards.mine.outcome.spread: 'bta' is not a known field. Did you mean 'beta'?",
        ),
        ({"outcome": {"weight": 1, "spread": {}}}, "'None' is not a known scheme"),
        ({"outcome": {"weight": 1, "spread": {"scheme": ["uniform"]}}}, "is not a known scheme"),
        ({"outcome": {"weight": 1, "spread": {"scheme": "uniform", "scale": 2}}}, "scale: found 2, allowed is T"),
        ({"outcome": {"weight": 1, "spread": {"scheme": "uniform", "beta": 1.5}}}, "beta: found 1.5"),
        ({"outcome": {"weight": 1, "spread": {"scheme": "uniform", "beta": -0.1}}}, "beta: found -0.1"),
        ({"outcome": {"weight": 1, "spread": {"scheme": "uniform", "beta": float("nan")}}}, "beta: found nan"),
        ({"chunk": {"weight": 1, "spread": {"scheme": "uniform"}}}, "nothing to spread"),
        ({"compression": {"weight": 1, "spread": {"scheme": "retrieved"}}}, "Use uniform"),
        ({"chunk": {"weight": -1}}, "rewards.mine.chunk.weight: found -1, allowed is a number from 0 on"),
        ({"chunk": {"weight": float("nan")}}, "weight: found nan"),
        ({"chunk": {"weight": float("inf")}}, "weight: found inf"),
        ({"chunk": {"weight": True}}, "weight: found True"),
        ({"chunk": {"weight": "1"}}, "weight: found '1'"),
        ({"chunk": {}}, "weight: found None"),
        ({"chunk": 1.0}, "rewards.mine.chunk: expected a mapping, found 1.0"),
        (
            {"advantage": "same_stop", "chunk": {"weight": 1}},
            "rewards.mine.advantage: 'same_stop' is not a known advantage. Did you mean 'same_step'?",
        ),
        ({"advantage": ["pooled"], "chunk": {"weight": 1}}, "is not a known advantage"),
        ({"advantage": "pooled"}, "no reward has a weight above 0"),
        ({"chunk": {"weight": 0}}, "no reward has a weight above 0"),
        ({}, "no reward has a weight above 0"),
        (None, "rewards.mine: expected a mapping"),
    ],
)
def test_what_makes_no_variant_is_refused_with_its_place(mapping, complaint: str):
    with pytest.raises(VariantError) as refused:
        variant("mine", mapping)
    assert complaint in str(refused.value)
