from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from finemem_pipeline.config import (
    DEFAULT_MANAGERS,
    MANAGERS,
    BM25Config,
    ClozeConfig,
    ConfigError,
    DenseConfig,
    EndpointConfig,
    ExtractiveConfig,
    HybridConfig,
    TransformersConfig,
    parse_parameters,
)
from finemem_pipeline.credit import ADVANTAGES, SCHEMES
from finemem_pipeline.rewards import REWARDS

BASE = Path(__file__).resolve().parents[1] / "conf" / "base"


@pytest.fixture(scope="module")
def shipped() -> dict:
    """All sections of conf/base/parameters_*.yml."""
    sections: dict = {}
    for file in sorted(BASE.glob("parameters*.yml")):
        sections |= yaml.safe_load(file.read_text("utf-8"))
    return sections


@pytest.fixture
def raw(shipped: dict) -> dict:
    """A copy to spoil."""
    return copy.deepcopy(shipped)


def put(raw: dict, place: str, value) -> dict:
    """The parameters with one more or another value, at a dotted place."""
    *path, last = place.split(".")
    at = raw
    for part in path:
        at = at[part]
    at[last] = value
    return raw


def faults(raw: dict) -> list[str]:
    with pytest.raises(ConfigError) as told:
        parse_parameters(raw)
    head, *lines = str(told.value).splitlines()
    assert head == "The parameters cannot be used:"
    return [line.removeprefix("  - ") for line in lines]


def test_the_shipped_parameters_are_sound_and_say_every_default_of_the_models(shipped):
    parameters = parse_parameters(shipped)
    for section in ("training", "evaluation", "reader", "questions"):
        told, known = set(shipped[section]), set(type(getattr(parameters, section)).model_fields)
        assert told == known, section


@pytest.mark.parametrize("name", ["smollm2_135m", "qwen3_4b", "qwen3_1_7b", "llama3_2_3b"])
def test_the_named_recipes_are_there(shipped, name):
    assert parse_parameters(shipped).recipes.recipe(name).model


def test_the_large_recipes_name_the_models_of_their_names(shipped):
    recipes = parse_parameters(shipped).recipes.root
    assert recipes["qwen3_4b"].model == "Qwen/Qwen3-4B"
    assert recipes["qwen3_1_7b"].model == "Qwen/Qwen3-1.7B"
    assert recipes["llama3_2_3b"].model == "meta-llama/Llama-3.2-3B-Instruct"


def test_the_variants_are_those_of_the_paper_and_its_ablation(shipped):
    rewards = parse_parameters(shipped).rewards
    names = ("fine_mem", "outcome_only", "csr_only", "eara_only")
    assert tuple(rewards.root)[:4] == names
    weights = {name: {reward: term.weight for reward, term in rewards.variant(name).terms.items()} for name in names}
    without_chunk = {"outcome": 1.0, "format": 1.0, "compression": 0.05}
    assert weights == {
        "fine_mem": {"outcome": 1.0, "chunk": 0.5, "format": 1.0, "compression": 0.05},
        "outcome_only": without_chunk,
        "csr_only": {**without_chunk, "chunk": 0.5},
        "eara_only": without_chunk,
    }
    spreads = {name: rewards.variant(name).terms["outcome"].spread for name in names}
    assert {name: spread.scheme for name, spread in spreads.items()} == {
        "fine_mem": "retrieved",
        "outcome_only": "uniform",
        "csr_only": "uniform",
        "eara_only": "retrieved",
    }
    assert (spreads["fine_mem"].beta, spreads["eara_only"].beta) == (0.5, 0.5)


def test_every_scheme_and_reward_is_in_a_variant_that_can_be_studied(shipped):
    parameters = parse_parameters(shipped)
    variants = [parameters.rewards.variant(name) for name in parameters.rewards.root]
    assert {term.spread.scheme for each in variants for term in each.terms.values() if term.spread} == set(SCHEMES)
    assert {name for each in variants for name in each.terms} == set(REWARDS)
    assert {each.advantage for each in variants} == set(ADVANTAGES)
    learning = parameters.credit_bench.learning
    assert {*learning.variants, *(name for pair in learning.compare for name in pair)} <= parameters.rewards.root.keys()


def test_a_pair_to_compare_is_two_names(shipped):
    bench = {**shipped["credit_bench"], "learning": {"compare": "lean/fine_mem+lean_cited/lean"}}
    assert parse_parameters({**shipped, "credit_bench": bench}).credit_bench.learning.compare == [
        ("lean", "fine_mem"),
        ("lean_cited", "lean"),
    ]
    bench = {**shipped["credit_bench"], "learning": {"compare": "lean"}}
    with pytest.raises(ConfigError, match=r"expected two names as in one/other, found 'lean'"):
        parse_parameters({**shipped, "credit_bench": bench})


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("data.sorce", "source"),
        ("data.planted.trian", "train"),
        ("questions.per_chunks", "per_chunk"),
        ("reader.max_unscored_shares", "max_unscored_share"),
        ("reader.retriever.k2", "k1"),
        ("training.stepz", "steps"),
        ("training.warm_start.step", "steps"),
        ("evaluation.resample", "resamples"),
        ("recipes.smollm2_135m.learning_rates", "learning_rate"),
        ("recipes.smollm2_135m.lora.alfa", "alpha"),
    ],
)
def test_an_unknown_key_is_told_with_its_section_and_the_nearest_one(raw, place, meant):
    [fault] = faults(put(raw, place, 1))
    section, _, key = place.rpartition(".")
    assert fault.startswith(f"{section}: '{key}' is not a known parameter. Did you mean '{meant}'?")


def test_an_unknown_section_is_told_with_the_nearest_one(raw):
    [fault] = faults({**raw, "trainings": {}})
    assert fault.startswith("params: 'trainings' is not a known parameter. Did you mean 'training'?")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("data.source", "planed", "data.source: 'planed' is not a known loader. Did you mean 'planted'?"),
        ("data.limits", {"trian": 3}, "data.limits: 'trian' is not a known split. Did you mean 'train'?"),
        ("training.recipe", "smollm", "training.recipe: 'smollm' is not a known recipe. Did you mean 'smollm2_135m'?"),
        (
            "training.reward",
            "finemem",
            "training.reward: 'finemem' is not a known reward variant. Did you mean 'fine_mem'?",
        ),
        (
            "evaluation.managers",
            ["traind"],
            "evaluation.managers: 'traind' is not a known manager. Did you mean 'trained'?",
        ),
        (
            "rewards.mine",
            {"compresion": {"weight": 1.0}},
            "rewards.mine: 'compresion' is not a known reward. Did you mean 'compression'?",
        ),
        (
            "rewards.mine",
            {"outcome": {"weight": 1.0, "spread": {"scheme": "retreived"}}},
            "rewards.mine.outcome.spread.scheme: 'retreived' is not a known scheme. Did you mean 'retrieved'?",
        ),
    ],
)
def test_an_unknown_name_is_told_with_its_place_and_the_nearest_one(raw, place, value, told):
    [fault] = faults(put(raw, place, value))
    assert fault.startswith(told)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("training.group_size", 0),
        ("training.steps", -1),
        ("training.kl", "much"),
        ("training.question_share", 0),
        ("reader.max_unscored_share", 1.5),
        ("recipes.smollm2_135m.learning_rate", 0),
        ("evaluation.batch", 0),
        ("data.planted.chunks", [3]),
    ],
)
def test_a_value_out_of_range_is_told_with_its_place_and_what_was_found(raw, place, value):
    [fault] = faults(put(raw, place, value))
    assert fault.startswith(f"{place}: ")
    assert fault.endswith(f"found {value!r}")


def test_all_faults_are_told_at_once(raw):
    put(raw, "training.stepz", 3)
    put(raw, "training.reward", "finemem")
    put(raw, "data.source", "planed")
    put(raw, "reader.k", 0)
    put(raw, "recipes.smollm2_135m.precision", "fp64")
    put(raw, "rewards.csr_only.chunck", {"weight": 1.0})
    assert len(faults(raw)) == 6


def test_streams_that_are_not_generated_need_a_path(raw):
    [fault] = faults(put(raw, "data.source", "realbench"))
    assert "data.source=realbench needs data.path" in fault


def test_a_name_that_stands_twice_in_a_list_is_refused(raw):
    [fault] = faults(put(raw, "credit_bench.schemes", ["cited", "uniform", "cited"]))
    assert fault == "credit_bench.schemes: 'cited' stands there twice, and would be counted twice."


def test_an_empty_list_of_managers_is_refused(raw):
    [fault] = faults(put(raw, "evaluation.managers", []))
    assert fault.startswith("evaluation.managers is empty.")


@pytest.mark.parametrize(
    ("place", "joined", "split"),
    [
        ("data.sources", "squad+mquake", ["squad", "mquake"]),
        ("data.sources", "squad", ["squad"]),
        ("data.sources", "", []),
        ("evaluation.managers", "trained+no_memory", ["trained", "no_memory"]),
        ("data.planted.chunks", "2+5", [2, 5]),
        ("credit_bench.steps", "5+10", [5, 10]),
        ("credit_bench.steps", 5, [5]),
    ],
)
def test_lists_are_joined_by_a_plus_on_the_command_line(raw, place, joined, split):
    found = parse_parameters(put(raw, place, joined))
    for part in place.split("."):
        found = getattr(found, part)
    assert found == split


ENDPOINT = {"kind": "endpoint", "base_url": "http://127.0.0.1:8000/v1", "model": "m"}


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("reader.reasoner", {"kind": "extractive"}, ExtractiveConfig),
        ("reader.reasoner", ENDPOINT, EndpointConfig),
        ("reader.reasoner", {"kind": "transformers", "model": "m"}, TransformersConfig),
        ("reader.judge", None, type(None)),
        ("reader.judge", ENDPOINT, EndpointConfig),
        ("reader.judge", {"kind": "transformers", "model": "m"}, TransformersConfig),
        ("questions.writer", {"kind": "cloze"}, ClozeConfig),
        ("questions.writer", ENDPOINT, EndpointConfig),
        ("questions.verifier", {"kind": "transformers", "model": "m"}, TransformersConfig),
    ],
)
def test_a_backend_is_chosen_by_its_kind(raw, place, value, expected):
    section, role = place.split(".")
    assert type(getattr(getattr(parse_parameters(put(raw, place, value)), section), role)) is expected


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("reader.reasoner", {"kind": "extractiv"}, "reader.reasoner"),
        ("reader.reasoner", {"kind": "cloze"}, "reader.reasoner"),
        ("questions.writer", {"kind": "extractive"}, "questions.writer"),
        ("reader.judge", {"kind": "extractive"}, "reader.judge.kind: 'extractive' is not a known kind"),
        ("reader.judge", {**ENDPOINT, "base_ulr": "x"}, "reader.judge: 'base_ulr' is not a known"),
        ("reader.reasoner", {"kind": "endpoint", "model": "m"}, "reader.reasoner.base_url"),
        ("reader.reasoner", {**ENDPOINT, "base_ulr": "x"}, "reader.reasoner: 'base_ulr' is not a known"),
        ("questions.writer", {**ENDPOINT, "timeot": 3}, "questions.writer: 'timeot' is not a known"),
    ],
)  # fmt: skip
def test_a_backend_that_cannot_be_had_is_told_with_its_place(raw, place, value, told):
    [fault] = faults(put(raw, place, value))
    assert fault.startswith(told)


def test_the_managers_asked_for_by_default_need_no_other_model(shipped):
    assert parse_parameters(shipped).evaluation.managers == list(DEFAULT_MANAGERS)


def test_any_manager_can_be_asked_for_by_its_name(raw):
    put(raw, "evaluation.managers", "+".join(MANAGERS))
    assert parse_parameters(raw).evaluation.managers == list(MANAGERS)
    [fault] = faults(put(raw, "evaluation.managers", "latest_win"))
    assert fault.startswith("evaluation.managers: 'latest_win' is not a known manager. Did you mean 'latest_wins'?")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"kind": "bm25", "k1": 1.2}, BM25Config(k1=1.2)),
        ({"kind": "dense", "model": "m"}, DenseConfig(model="m")),
        ({"kind": "hybrid", "model": "m", "encoder": "transformers"}, HybridConfig(model="m", encoder="transformers")),
    ],
)
def test_a_retriever_is_chosen_by_its_kind(raw, value, expected):
    assert parse_parameters(put(raw, "reader.retriever", value)).reader.retriever == expected


def test_one_parameter_changes_the_kind_of_retriever(raw):
    put(raw, "reader.retriever.kind", "dense")
    assert faults(raw) == ["reader.retriever.model: Field required, found {'kind': 'dense'}"]
    put(raw, "reader.retriever.model", "some/model")
    assert parse_parameters(raw).reader.retriever == DenseConfig(model="some/model")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"kind": "bm52"}, "reader.retriever.kind: 'bm52' is not a known kind. Did you mean 'bm25'?"),
        ({"kind": "dense", "modle": "m", "model": "m"}, "reader.retriever: 'modle' is not a known parameter"),
        ({"kind": "hybrid", "model": "m", "encoder": "words"}, "reader.retriever.encoder: "),
    ],
)
def test_a_retriever_that_cannot_be_had_is_told_with_its_place(raw, value, told):
    [fault] = faults(put(raw, "reader.retriever", value))
    assert fault.startswith(told)


def test_the_language_model_of_compared_managers_is_the_recipes_own_unless_told(raw):
    assert parse_parameters(raw).evaluation.generator is None
    found = parse_parameters(put(raw, "evaluation.generator", {**ENDPOINT, "max_tokens": 1024})).evaluation.generator
    assert isinstance(found, EndpointConfig)
    assert found.max_tokens == 1024
    [fault] = faults(put(raw, "evaluation.generator", {**ENDPOINT, "timeot": 3}))
    assert fault.startswith("evaluation.generator: 'timeot' is not a known parameter. Did you mean 'timeout'?")


def test_a_section_that_is_missing_is_named(raw):
    del raw["reader"]
    [fault] = faults(raw)
    assert fault.startswith("reader: Field required")


def test_an_unknown_benchmark_is_told_with_the_nearest_one(raw):
    [fault] = faults(put(raw, "evaluation.benchmarks", "realbench+memalfa"))
    assert fault.startswith("evaluation.benchmarks: 'memalfa' is not a known benchmark. Did you mean 'memalpha'?")


@pytest.mark.parametrize(
    ("benchmark", "told"),
    [
        ({"source": "realbensh", "path": "x"}, "benchmarks.diary.source: 'realbensh' is not a known loader. Did you"),
        ({"source": "realbench", "path": "x", "splits": "test"}, "benchmarks.diary: 'splits' is not a known parameter"),
        ({"source": "realbench"}, "benchmarks.diary.path: Field required"),
    ],
)
def test_a_benchmark_that_cannot_be_read_is_told_with_its_place(raw, benchmark, told):
    [fault] = faults(put(raw, "benchmarks.diary", benchmark))
    assert fault.startswith(told)


def test_the_names_of_the_data_pipelines_own_sets_are_taken(raw):
    [fault] = faults(put(raw, "benchmarks.train", {"source": "realbench", "path": "x"}))
    assert fault.startswith("benchmarks.train: the name is taken")


def test_a_file_and_benchmarks_are_not_both_evaluated_on(raw):
    put(raw, "evaluation.path", "more.jsonl")
    assert list(parse_parameters(raw).evaluation.held_out(parse_parameters(raw).benchmarks)) == ["more.jsonl"]
    [fault] = faults(put(raw, "evaluation.benchmarks", ["realbench"]))
    assert fault.startswith("evaluation.path and evaluation.benchmarks: both say what to evaluate on.")


@pytest.mark.parametrize(("place", "value"), [("seeds", [1, 1]), ("training_seeds", "2+2")])
def test_a_seed_that_stands_twice_is_refused(raw, place, value):
    [fault] = faults(put(raw, f"evaluation.{place}", value))
    assert fault.startswith(f"evaluation.{place}: found ")


def test_a_reader_of_the_matrix_has_what_it_names_and_shares_the_rest(raw):
    put(raw, "matrix.readers", {"same": {}, "other": {"k": 5, "retriever": {"kind": "bm25", "b": 0.25}}})
    parameters = parse_parameters(put(raw, "reader.max_unscored_share", 0.5))
    same, other = (parameters.matrix.readers.reader(name, parameters.reader) for name in ("same", "other"))
    assert same == parameters.reader
    assert (other.k, other.retriever, other.reasoner) == (5, BM25Config(b=0.25), ExtractiveConfig())
    assert other.max_unscored_share == 0.5


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("matrix.backbones", "smollm2_135m+smolm2", "matrix.backbones: 'smolm2' is not a known recipe. Did you mean"),
        ("matrix.backbones", "tiny_llama+tiny_llama", "matrix.backbones: 'tiny_llama' stands there twice"),
        ("matrix.managers", "trained+raw_chunks", "matrix.managers: warm_started is what a cell is about"),
        (
            "matrix.managers",
            "trained+warm_started+raw_chunk",
            "matrix.managers: 'raw_chunk' is not a known manager. Did you mean",
        ),
        ("matrix.readers", {}, "matrix.readers is empty"),
        ("matrix.readers.smollm2", {"reasonner": {}}, "matrix.readers.smollm2: 'reasonner' is not a known parameter"),
        ("matrix.readers.smollm2", {"reasoner": {"kind": "extractve"}}, "matrix.readers.smollm2.reasoner.kind: 'extr"),
    ],
)
def test_a_matrix_that_cannot_be_run_is_told_with_its_place(raw, place, value, told):
    [fault] = faults(put(raw, place, value))
    assert fault.startswith(told)
