from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest

from finemem_pipeline.generation import Sampling
from finemem_pipeline.manager.prompts import conversation
from finemem_pipeline.training import tiny_model
from finemem_pipeline.training.tiny_model import LESSONS, disguised, set_up

BRIEF = tuple(replace(each, spec=replace(each.spec, train=12), updates=2, batch=4) for each in LESSONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "base" / "tiny-llama"
    assert set_up(place, BRIEF) is True
    return place


def test_it_plays_as_a_policy_does(folder):
    from finemem_pipeline.training.policy import finished_policy

    policy = finished_policy(str(folder), None, "fp32", adapter=False)
    [done] = policy.generate([conversation(next(chunks()), "")], Sampling(max_tokens=4, temperature=0.0))
    assert len(done.completion_ids) <= 4
    assert "You keep a memory" not in policy.tokenizer.decode(done.prompt_ids)
    assert "Memory:\n(empty)" in policy.tokenizer.decode(done.prompt_ids)


def test_what_stands_there_is_left_alone(folder, monkeypatch):
    monkeypatch.setattr(tiny_model, "_make", None)
    assert set_up(folder, BRIEF) is False


def test_the_same_lessons_make_the_same_weights(folder, tmp_path):
    set_up(tmp_path / "again", BRIEF)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["again"]


def test_a_disguised_demonstration_says_the_same_of_others():
    told = "Text:\nBoris parks in bay 7436.\nRosa sang.\n\nMemory:\nm1: Boris was late."
    reply = '[{"op": "INSERT", "content": "Boris parks in bay 7436."}]'
    other, answer = disguised(told, reply, random.Random(3))
    name, number = re.search(r"Text:\n(\w+) \w+ in bay (\d{4})\.", other).groups()
    assert (name, number) != ("Boris", "7436")
    assert f"m1: {name} " in other  # one name, one disguise
    assert other.startswith("Text:\n")
    assert "\n\nMemory:\nm1: " in other
    assert answer == '[{"op": "INSERT", "content": "' + other.splitlines()[1] + '"}]'


def test_lessons_have_streams_that_no_run_is_given_by_default(project):
    import yaml

    given = yaml.safe_load((project / "conf/base/parameters_data.yml").read_text("utf-8"))["data"]["planted"]["seed"]
    assert given not in {each.spec.seed for each in LESSONS}


def chunks():
    from finemem_pipeline.benchmarks.planted import generate

    return (chunk for stream in generate(LESSONS[-1].spec, "dev") for chunk in stream.chunks)
