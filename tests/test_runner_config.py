from __future__ import annotations

import pytest

from finemem_pipeline.config import ConfigError
from finemem_pipeline.runner_config import parse_runner, read_runner


def test_an_empty_file_is_all_defaults():
    config = parse_runner({})
    assert (config.namespace, config.nodes, config.gpus, config.image) == ("finemem", 1, 1, None)
    assert (config.on_interrupt, config.on_sigterm, config.dry_run) == ("cancel", "detach", False)


def test_every_wrong_key_and_value_is_told_at_once_with_the_nearest_name():
    with pytest.raises(ConfigError) as told:
        parse_runner(
            {
                "imgae": "x",
                "gpus": -1,
                "memory": "lots",
                "backend": "pods",
                "volume": {"clam": "data"},
                "secrets": {"KEY": "no-key-named"},
            }
        )
    said = str(told.value)
    assert "runner.yml: 'imgae' is not a known key. Did you mean 'image'?" in said
    assert "runner.yml.volume: 'clam' is not a known key. Did you mean 'claim'?" in said
    assert "runner.yml: gpus: Input should be greater than or equal to 0, found -1" in said
    assert "runner.yml: memory: expected a quantity such as 4, 500m or 16Gi, found 'lots'" in said
    assert "runner.yml: backend: Input should be 'job', 'jobset' or 'trainjob', found 'pods'" in said
    assert "runner.yml: secrets.KEY: expected secret/key, found 'no-key-named'" in said


def test_an_environment_without_the_file_has_no_runner():
    from kedro.config import MissingConfigException

    class Loader(dict):
        def __missing__(self, key):
            raise MissingConfigException(key)

    assert read_runner(Loader()) is None
    assert read_runner(Loader(runner={"gpus": 8})) == {"gpus": 8}


def test_numbers_are_taken_where_kubernetes_writes_texts():
    config = parse_runner({"cpu": 8, "memory": 1.5, "env": {"THREADS": 4}, "node_selector": {"rack": 7}})
    assert (config.cpu, config.memory, config.env, config.node_selector) == (
        "8",
        "1.5",
        {"THREADS": "4"},
        {"rack": "7"},
    )
    with pytest.raises(ConfigError, match=r"runner.yml: cpu: Input should be a valid string, found True"):
        parse_runner({"cpu": True})


@pytest.mark.parametrize("path", ["", ".", "..", "../data", "data/../.."])
def test_a_volume_does_not_hide_the_code(path):
    with pytest.raises(ConfigError, match=r"runner.yml: volume.path: expected a folder of the project such as data"):
        parse_runner({"volume": {"claim": "c", "path": path}})


def test_a_fault_that_a_rule_of_ours_finds_has_its_place_too():
    with pytest.raises(ConfigError, match=r"runner.yml: nodes: expected a whole number, found True"):
        parse_runner({"nodes": True})
