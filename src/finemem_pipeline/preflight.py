"""What can be known to be missing before the first node: files, models, servers."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from finemem_pipeline import store, wiring
from finemem_pipeline.benchmarks import BENCHMARKS, FINDERS
from finemem_pipeline.benchmarks.streams import SPLITS
from finemem_pipeline.config import (
    MODEL_MANAGERS,
    TEST,
    TRAINED,
    BM25Config,
    EndpointConfig,
    Parameters,
    ReaderConfig,
    RetrieverConfig,
    TrainingConfig,
    TransformersConfig,
)
from finemem_pipeline.credit.shapley import MOST
from finemem_pipeline.errors import FinememError, unknown
from finemem_pipeline.retrieval.dense import need_sentence_transformers
from finemem_pipeline.training.together import team

READS = {"read_streams", "record_inputs"}
MEASURES = {"measure_fidelity"}
LEARNS = {"study_learning", "measure_gradients"}
WRITES_QUESTIONS = {"write_chunk_questions"}
TRAINS = {"train_policy", "train_backbones"}
NEEDS_POLICY = {"warm_start_policy", "train_policy", "play_held_out", "play_references"}
NEEDS_READER = {"train_policy", "play_held_out", "play_references", "measure_fidelity", "train_backbones"}
NEEDS_HELD_OUT = {"held_out_streams", "matrix_streams"}
NEEDS_RETRIEVER = NEEDS_READER | {"warm_start_policy"}
PLAYS = {"play_held_out"}
PLAYS_REFERENCES = {"play_references"}
PLAYS_CELLS = {"play_cells"}
NEEDS_BACKBONES = {"train_backbones", "play_cells"}
EVALUATES = {
    *("held_out_streams", "estimate_cost", "play_held_out", "compare_managers"),
    *("write_report_page", "write_table_of_record"),
}


PARTS = {
    "weights": ("*.safetensors", "pytorch_model*.bin"),
    "tokenizer": ("tokenizer.json", "tokenizer.model", "vocab.json"),
}
"""What a local model needs beside its config.json."""


class PreflightError(FinememError):
    """Something a run needs is not there."""


def check(parameters: Parameters, nodes: set[str]) -> None:
    """Raises PreflightError, or the error of the backend asked, if a node of this run cannot have what it needs.

    `nodes` are named without their namespace. Takes seconds at most: servers are asked once, models are looked for,
    not loaded.
    """
    data, evaluation = parameters.data, parameters.evaluation
    _kept_where_data_is(parameters, nodes)
    if nodes & READS and data.source != "planted" and data.path is not None:
        store.fetch(data.path)
        for split in SPLITS:
            FINDERS[data.source](data.path, split)
    _study_is_possible(parameters, nodes)
    if nodes & NEEDS_HELD_OUT:
        for benchmark in evaluation.held_out(parameters.benchmarks).values():
            if benchmark is not None:
                store.fetch(benchmark.path)
                for _ in BENCHMARKS[benchmark.source](benchmark.path, benchmark.split):
                    break  # the loader checks every row before it gives out the first
    for where, model in _models(parameters, nodes):
        model_is_there(model, where)
    if nodes & TRAINS:
        _processes_can_share(parameters.training)
    _backends_answer(parameters, nodes)


def fetch_models(parameters: Parameters, nodes: set[str]) -> None:
    """Brings here the models that these nodes load, where data is kept elsewhere and they are kept with it."""
    for _, model in _models(parameters, nodes):
        store.fetch(Path(model))


def _processes_can_share(training: TrainingConfig) -> None:
    launched = team().size
    processes = launched if launched > 1 else training.processes
    if processes == 1:
        return
    where = f"{processes} processes (started by a launcher)" if launched > 1 else f"training.processes: {processes}"
    streams = training.episodes_per_step
    if fault := not_shared(streams, processes, where):
        raise PreflightError(fault)
    if find_spec("deepspeed") is None:
        raise PreflightError(
            f"{where}: several processes train with DeepSpeed, which is not installed. "
            "Install it with: pip install 'finemem_pipeline[distributed]', or take 1."
        )
    from finemem_pipeline.training.hardware import gpus

    if launched == 1 and 0 < gpus() < processes:
        raise PreflightError(f"{where}: this machine has {gpus()} GPUs, and every process needs one of its own.")


def not_shared(streams: int, processes: int, where: str) -> str | None:
    """Why so many processes cannot share the streams of an update; None if they can."""
    if streams % processes == 0:
        return None
    fitting = [str(n) for n in range(1, streams + 1) if streams % n == 0]
    below, above = streams // processes * processes, -(-streams // processes) * processes
    return (
        f"training.episodes_per_step: {streams} streams an update cannot be shared by {where}, as all siblings of "
        f"a stream stay with one. Take {f'{below} or ' if below else ''}{above} streams, or "
        f"{' or '.join(fitting)} processes."
    )


def spared(parameters: Parameters) -> set[str]:
    """Data sets that this evaluation can do without, though the pipeline names them as inputs."""
    evaluation = parameters.evaluation
    needless = {"train_episodes", "test_episodes", "input_record", "training_summary", "warm_start"}
    if TRAINED & set(evaluation.managers) and not evaluation.dry_run:
        needless -= {"train_episodes", "training_summary", "warm_start"}
    if TEST in evaluation.held_out(parameters.benchmarks):
        needless -= {"test_episodes", "input_record"}
    return needless


def _study_is_possible(parameters: Parameters, nodes: set[str]) -> None:
    data, bench, known = parameters.data, parameters.credit_bench, parameters.rewards.root
    if nodes & MEASURES:
        if data.source != "planted" and data.path is not None:
            store.fetch(data.path)
            FINDERS[data.source](data.path, "test")
        if "shapley" in bench.schemes and parameters.reader.k > MOST:
            raise PreflightError(
                f"reader.k: found {parameters.reader.k}, but the shapley of credit_bench.schemes takes {MOST} at most. "
                "Lower it, or name the schemes without shapley."
            )
    if nodes & LEARNS:
        for name in bench.learning.variants:
            if name not in known:
                raise PreflightError(unknown("credit_bench.learning.variants", name, known, "reward variant"))


def _models(parameters: Parameters, nodes: set[str]) -> list[tuple[str, str]]:
    """Where the parameters name a model that these nodes load, and its folder or id."""
    data, recipe = parameters.data, parameters.recipes.recipe(parameters.training.recipe)
    found = []
    if nodes & NEEDS_POLICY or (nodes & (READS | NEEDS_HELD_OUT) and data.max_chunk_tokens is not None):
        found.append((f"recipes.{parameters.training.recipe}.model", recipe.model))
    for backbone in parameters.matrix.backbones if nodes & NEEDS_BACKBONES else ():
        found.append((f"recipes.{backbone}.model", parameters.recipes.recipe(backbone).model))
    for where, retriever in _retrievers(parameters, nodes).items():
        if not isinstance(retriever, BM25Config):
            found.append((f"{where}.model", retriever.model))
    for where, backend in _backends(parameters, nodes):
        if isinstance(backend, TransformersConfig):
            found.append((f"{where}.model", backend.model))
    return found


def _backends_answer(parameters: Parameters, nodes: set[str]) -> None:
    for retriever in _retrievers(parameters, nodes).values():
        if not isinstance(retriever, BM25Config) and retriever.encoder == "sentence_transformers":
            need_sentence_transformers(retriever.model)
    for _, backend in _backends(parameters, nodes):
        if isinstance(backend, EndpointConfig):
            wiring.endpoint(backend).check()


def _kept_where_data_is(parameters: Parameters, nodes: set[str]) -> None:
    """What a run writes must lie in the data folder where that is kept elsewhere."""
    for where, path, writers in (
        ("training.folder", parameters.training.folder, TRAINS | {"warm_start_policy"}),
        ("questions.cache", parameters.questions.cache, WRITES_QUESTIONS),
        ("credit_bench.folder", parameters.credit_bench.folder, MEASURES | LEARNS),
    ):
        if nodes & writers and not store.can_keep(path):
            raise PreflightError(f"{where}: {path} lies outside data/, and this environment keeps data/ alone.")


def _readers(parameters: Parameters, nodes: set[str]) -> dict[str, ReaderConfig]:
    """By where the parameters have them, the readers that these nodes ask."""
    cells = parameters.matrix.readers
    found = {f"matrix.readers.{name}": cells.reader(name, parameters.reader) for name in cells.root}
    return {**(found if nodes & PLAYS_CELLS else {}), **({"reader": parameters.reader} if nodes & NEEDS_READER else {})}


def _retrievers(parameters: Parameters, nodes: set[str]) -> dict[str, RetrieverConfig]:
    """By where the parameters have them, the retrievers that these nodes build."""
    readers = _readers(parameters, nodes) | ({"reader": parameters.reader} if nodes & NEEDS_RETRIEVER else {})
    return {f"{where}.retriever": reader.retriever for where, reader in readers.items()}


def _backends(parameters: Parameters, nodes: set[str]) -> list[tuple[str, object]]:
    """Where the parameters name a language model that these nodes ask, and what they say of it."""
    backends: list[tuple[str, object]] = []
    for where, reader in _readers(parameters, nodes).items():
        backends += [(f"{where}.reasoner", reader.reasoner), (f"{where}.judge", reader.judge)]
    if nodes & WRITES_QUESTIONS:
        backends.append(("questions.writer", parameters.questions.writer))
        backends.append(("questions.verifier", parameters.questions.verifier))
    asked = {
        *(parameters.evaluation.managers if nodes & PLAYS else ()),
        *(parameters.compare.managers if nodes & PLAYS_REFERENCES else ()),
        *(parameters.matrix.managers if nodes & PLAYS_CELLS else ()),
    }
    if asked.intersection(MODEL_MANAGERS):
        backends.append(("evaluation.generator", parameters.evaluation.generator))
    return backends


def model_is_there(model: str, where: str) -> None:
    """A local folder with a config.json, or else the id of a Hub model that is in the cache or within reach."""
    folder = Path(model)
    if store.there(folder):
        return  # fetched before the node that loads it
    if (folder / "config.json").is_file():
        lacking = [what for what, names in PARTS.items() if not any(any(folder.glob(name)) for name in names)]
        if lacking:
            raise PreflightError(f"{where}: {model} is only half a model, it has no {' and no '.join(lacking)} file.")
        return
    if looks_local(model):
        near = get_close_matches(folder.name, siblings(folder), n=1, cutoff=0.5)
        guess = f" Did you mean {folder.parent / near[0]}?" if near else ""
        raise PreflightError(
            f"{where}: there is no model at {model}.{guess} `make setup` puts the small default model there, "
            "`make tiny-model` the tiny one; another is named by its folder or its Hugging Face id."
        )
    from huggingface_hub import file_exists, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(try_to_load_from_cache(model, "config.json"), str):
        return
    try:
        reachable = file_exists(model, "config.json")
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise PreflightError(
            f"{where}: {model} is not in the local cache and the Hugging Face Hub cannot be asked for it "
            f"({type(error).__name__}). Download it first, or name a local folder."
        ) from error
    if not reachable:
        raise PreflightError(f"{where}: the Hugging Face Hub has no model {model}, or it needs a token (HF_TOKEN).")


def looks_local(model: str) -> bool:
    """Hub ids are 'owner/name'; anything else is meant as a path."""
    return model.count("/") != 1 or model.startswith((".", "/", "~"))


def siblings(folder: Path) -> Iterable[str]:
    """Folders that stand beside the one that is missing."""
    return [each.name for each in folder.parent.iterdir() if each.is_dir()] if folder.parent.is_dir() else []
