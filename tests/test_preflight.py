from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import pytest

from finemem_pipeline.benchmarks.realbench import write_episodes
from finemem_pipeline.config import parse_parameters
from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.errors import DataError
from finemem_pipeline.generation import GeneratorError
from finemem_pipeline.preflight import PreflightError, check, looks_local, model_is_there, spared
from finemem_pipeline.retrieval.dense import RetrieverError
from finemem_pipeline.training import together


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "smollm2-135m"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def parameters(model: Path | str = "nowhere/at/all", **sections):
    raw = {
        "data": {}, "questions": {}, "reader": {}, "evaluation": {},
        "rewards": {"fine_mem": {"format": {"weight": 1.0}}},
        "recipes": {"small": {"model": str(model), "learning_rate": 1e-3}},
        "training": {"recipe": "small"},
    }  # fmt: skip
    return parse_parameters(raw | sections)


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("Qwen/Qwen3-4B", False),
        ("data/06_models/base/smollm2", True),
        ("./Qwen/Qwen3-4B", True),
        ("/models/qwen", True),
        ("~/qwen", True),
        ("smollm2", True),
    ],
)
def test_owner_and_name_are_an_id_anything_else_is_a_path(name, local):
    assert looks_local(name) is local


def test_a_folder_with_config_weights_and_tokenizer_is_a_model(model):
    model_is_there(str(model), "recipes.small.model")


@pytest.mark.parametrize(("lost", "lacking"), [("model.safetensors", "weights"), ("tokenizer.json", "tokenizer")])
def test_half_a_model_is_told_with_what_it_lacks(model, lost, lacking):
    (model / lost).unlink()
    with pytest.raises(PreflightError, match=f"is only half a model, it has no {lacking} file"):
        model_is_there(str(model), "recipes.small.model")


def test_a_folder_that_is_not_there_is_told_with_the_nearest_one(model):
    with pytest.raises(PreflightError) as told:
        model_is_there(str(model.parent / "smolm2-135m"), "recipes.small.model")
    assert str(told.value).startswith(f"recipes.small.model: there is no model at {model.parent / 'smolm2-135m'}.")
    assert f"Did you mean {model}?" in str(told.value)
    assert "make setup" in str(told.value)


def test_a_folder_without_a_config_is_no_model(tmp_path):
    with pytest.raises(PreflightError, match="there is no model at"):
        model_is_there(str(tmp_path), "recipes.small.model")


def test_an_id_that_cannot_be_looked_up_says_so():
    with pytest.raises(PreflightError, match=r"nobody/nothing is not in the local cache and the .* cannot be asked"):
        model_is_there("nobody/nothing", "reader.reasoner.model")


@pytest.mark.parametrize("node", ["warm_start_policy", "train_policy", "play_held_out"])
def test_nodes_that_play_a_policy_need_its_model(node, model):
    with pytest.raises(PreflightError, match=r"recipes\.small\.model: there is no model"):
        check(parameters(), {node})
    check(parameters(model), {node})


def test_nodes_that_do_not_need_a_model_run_without():
    check(parameters(), {"read_streams", "check_sets", "write_chunk_questions", "compare_managers"})


def test_cutting_chunks_needs_the_tokenizer_of_the_model():
    with pytest.raises(PreflightError, match=r"recipes\.small\.model: there is no model"):
        check(parameters(data={"max_chunk_tokens": 100}), {"read_streams"})


def test_streams_are_looked_for_only_where_they_are_read(tmp_path):
    data = {"source": "realbench", "path": str(tmp_path / "gone")}
    with pytest.raises(DataError, match="no such file or folder"):
        check(parameters(data=data), {"read_streams"})
    check(parameters(data=data), {"write_chunk_questions"})


def test_the_file_of_an_evaluation_is_checked_row_by_row_before_anything_is_played(tmp_path):
    data = {"source": "realbench", "path": str(tmp_path)}
    write_episodes(tmp_path / "own.jsonl", [Episode("s", "made", "AR", (Chunk(0, "text"),), ())])
    check(parameters(data=data, evaluation={"path": str(tmp_path / "own.jsonl")}), {"held_out_streams"})
    (tmp_path / "own.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"own\.jsonl:1: instance_id: is missing"):
        check(parameters(data=data, evaluation={"path": str(tmp_path / "own.jsonl")}), {"held_out_streams"})


@pytest.fixture
def silent():
    """The configuration of a server at a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield {"kind": "endpoint", "base_url": f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "model": "m"}


@pytest.mark.parametrize(
    ("section", "role", "node"),
    [
        ("questions", "writer", "write_chunk_questions"),
        ("questions", "verifier", "write_chunk_questions"),
        ("reader", "reasoner", "play_held_out"),
        ("reader", "reasoner", "measure_fidelity"),
        ("reader", "judge", "play_held_out"),
    ],
)
def test_a_server_that_does_not_answer_is_found_out(section, role, node, silent, model):
    found = parameters(model, **{section: {role: silent}})
    with pytest.raises(GeneratorError, match=silent["base_url"]):
        check(found, {node})
    check(found, {"compare_managers"})


@pytest.mark.parametrize(
    ("section", "role", "node"),
    [
        ("questions", "writer", "write_chunk_questions"),
        ("reader", "reasoner", "train_policy"),
        ("reader", "judge", "train_policy"),
    ],
)
def test_a_local_model_behind_a_reader_or_writer_is_looked_for(section, role, node, model):
    config = {"kind": "transformers", "model": str(model.parent / "other")}
    with pytest.raises(PreflightError, match=rf"{section}\.{role}\.model: there is no model"):
        check(parameters(model, **{section: {role: config}}), {node})


def test_the_generator_of_compared_managers_is_looked_for_where_one_of_them_is_asked_for(silent, model):
    asked = {"managers": "raw_chunks+prompted", "generator": silent}
    with pytest.raises(GeneratorError, match=silent["base_url"]):
        check(parameters(model, evaluation=asked), {"play_held_out"})
    check(parameters(model, evaluation=asked), {"train_policy"})
    check(parameters(model, evaluation={**asked, "managers": "raw_chunks"}), {"play_held_out"})
    gone = {"kind": "transformers", "model": str(model.parent / "other")}
    with pytest.raises(PreflightError, match=r"evaluation\.generator\.model: there is no model"):
        check(parameters(model, evaluation={**asked, "generator": gone}), {"play_held_out"})


@pytest.mark.parametrize("kind", ["dense", "hybrid"])
@pytest.mark.parametrize("node", ["warm_start_policy", "train_policy", "play_held_out", "measure_fidelity"])
def test_the_model_of_a_retriever_and_its_library_are_looked_for(kind, node, model, monkeypatch):
    retriever = {"kind": kind, "model": str(model), "encoder": "transformers"}
    check(parameters(model, reader={"retriever": retriever}), {node})
    with pytest.raises(PreflightError, match=r"reader\.retriever\.model: there is no model"):
        check(parameters(model, reader={"retriever": {**retriever, "model": f"{model}/other"}}), {node})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RetrieverError, match="pip install sentence-transformers"):
        check(parameters(model, reader={"retriever": {"kind": kind, "model": str(model)}}), {node})


def sets(tmp_path, **evaluation):
    benchmarks = {"mine": {"source": "realbench", "path": str(tmp_path / "mine.jsonl")}}
    return parameters(benchmarks=benchmarks, evaluation=evaluation)


def test_the_file_of_every_benchmark_asked_for_is_looked_for(tmp_path):
    check(sets(tmp_path), {"held_out_streams"})
    with pytest.raises(DataError, match=r"mine\.jsonl: no such file or folder"):
        check(sets(tmp_path, benchmarks=["mine"]), {"held_out_streams"})


@pytest.mark.parametrize(
    ("evaluation", "needed"),
    [
        ({"managers": ["no_memory"]}, {"test_episodes", "input_record"}),
        ({"managers": ["no_memory", "untrained"], "benchmarks": ["mine"]}, set()),
        ({"managers": ["no_memory", "trained"], "benchmarks": ["mine"], "dry_run": True}, set()),
        (
            {"managers": ["imitation"], "benchmarks": ["mine", "test"]},
            {"test_episodes", "input_record", "train_episodes", "training_summary", "warm_start"},
        ),
    ],
)
def test_an_evaluation_needs_only_what_its_managers_and_benchmarks_need(tmp_path, evaluation, needed):
    everything = {"test_episodes", "input_record", "train_episodes", "training_summary", "warm_start"}
    assert everything - spared(sets(tmp_path, **evaluation)) == needed


def of_matrix(model, **reader):
    return parameters(model, matrix={"backbones": ["small"], "readers": {"same": {}, "other": reader}})


def test_the_models_of_all_backbones_and_readers_of_a_matrix_are_looked_for(model):
    there = {"kind": "transformers", "model": str(model)}
    check(of_matrix(model, reasoner=there), {"train_backbones", "play_cells"})
    for node in ("train_backbones", "play_cells"):
        with pytest.raises(PreflightError, match=r"recipes\.small\.model: there is no model"):
            check(of_matrix(model.parent / "other"), {node})
    gone = {**there, "model": str(model.parent / "other")}
    with pytest.raises(PreflightError, match=r"matrix\.readers\.other\.reasoner\.model: there is no model"):
        check(of_matrix(model, reasoner=gone), {"play_cells"})
    check(of_matrix(model, reasoner=gone), {"train_backbones"})  # who reads in the end trains nobody


def test_the_server_of_a_reader_of_a_matrix_is_asked(silent, model):
    with pytest.raises(GeneratorError, match=silent["base_url"]):
        check(of_matrix(model, judge=silent), {"play_cells"})


TRAIN = {"train_policy"}


@pytest.mark.parametrize(
    ("streams", "processes", "told"),
    [
        (2, 3, "2 streams an update cannot be shared by training.processes: 3, .* Take 3 streams, or 1 or 2 processes"),
        (
            12,
            8,
            "12 streams .* training.processes: 8, .* Take 8 or 16 streams, or 1 or 2 or 3 or 4 or 6 or 12 processes",
        ),
    ],
)
def test_streams_that_cannot_be_shared_out_are_told_with_numbers_that_can(model, streams, processes, told):
    training = {"recipe": "small", "processes": processes, "episodes_per_step": streams}
    with pytest.raises(PreflightError, match=rf"training\.episodes_per_step: {told}"):
        check(parameters(model, training=training), TRAIN)


def test_the_processes_of_a_launcher_count_not_the_parameter(model, monkeypatch):
    monkeypatch.setattr(together, "_team", together.Team(0, 4))
    with pytest.raises(PreflightError, match=r"cannot be shared by 4 processes \(started by a launcher\)"):
        check(parameters(model, training={"recipe": "small", "processes": 2}), TRAIN)


def test_several_processes_without_deepspeed_are_told_what_to_install(model, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "finemem_pipeline.preflight.find_spec", lambda name: None if name == "deepspeed" else find(name)
    )
    several = parameters(model, training={"recipe": "small", "processes": 2})
    with pytest.raises(
        PreflightError, match=r"training\.processes: 2: .* pip install 'finemem_pipeline\[distributed\]'"
    ):
        check(several, TRAIN)
    check(several, {"warm_start_policy"})  # one process does the rest


def test_more_processes_than_gpus_are_refused_and_a_cpu_may_have_any(model, monkeypatch):
    monkeypatch.setattr("finemem_pipeline.preflight.find_spec", lambda name: object())
    several = parameters(model, training={"recipe": "small", "processes": 2})
    monkeypatch.setattr("finemem_pipeline.training.hardware.gpus", lambda: 1)
    with pytest.raises(PreflightError, match=r"training\.processes: 2: this machine has 1 GPUs"):
        check(several, TRAIN)
    monkeypatch.setattr("finemem_pipeline.training.hardware.gpus", lambda: 0)
    check(several, TRAIN)
