from __future__ import annotations

import pytest

from finemem_pipeline.credit import SCHEMES, spread_evenly


def test_every_step_gets_the_same():
    assert spread_evenly(0.5, 4).tolist() == [0.125, 0.125, 0.125, 0.125]


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least one step"):
        spread_evenly(1.0, 0)


def test_the_scheme_shares_the_mean_of_the_scored_answers(answered):
    rollout = answered(scores=[1.0, None, 0.0], evidence=[[0], [1], []], steps=2)
    assert SCHEMES["uniform"](rollout).tolist() == [0.25, 0.25]
    with pytest.raises(ValueError, match="nothing to share"):
        SCHEMES["uniform"](answered(scores=[None], evidence=[[0]], steps=2))
