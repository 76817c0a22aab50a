from __future__ import annotations

from finemem_pipeline import wiring
from finemem_pipeline.config import EndpointConfig, ReaderConfig
from finemem_pipeline.reasoning.judge import RubricJudge

SERVER = EndpointConfig(base_url="http://127.0.0.1:8000/v1", model="m", max_tokens=32, temperature=0.5)


def test_a_reader_has_the_judge_it_was_configured_with():
    judge = wiring.reader(ReaderConfig(judge=SERVER, cache=None)).judge
    assert isinstance(judge, RubricJudge)
    assert (judge.sampling.max_tokens, judge.sampling.temperature) == (32, 0.5)


def test_without_one_it_has_none_and_its_identity_says_nothing_of_judges():
    config = ReaderConfig(cache=None)
    assert wiring.reader(config).judge is None
    assert set(wiring.reader_identity(config, wiring.reader(config))) == {"reasoner", "retriever", "k"}


def test_the_judge_is_part_of_what_answers_depend_on():
    config = ReaderConfig(judge=SERVER, cache=None)
    made = wiring.reader(config)
    assert made.judge is not None
    assert wiring.reader_identity(config, made)["judge"] == made.judge.identity
