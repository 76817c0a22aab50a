"""From config to objects: the only place that knows both. Heavy libraries load when an object needs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from finemem_pipeline import store
from finemem_pipeline.benchmarks import FINDERS, planted
from finemem_pipeline.benchmarks.cutting import cut_chunks
from finemem_pipeline.benchmarks.streams import SPLITS
from finemem_pipeline.clock import Clock
from finemem_pipeline.config import (
    MODEL_MANAGERS,
    POLICIES,
    TRAINED,
    BM25Config,
    ClozeConfig,
    DataConfig,
    DenseConfig,
    Encoder,
    EndpointConfig,
    EvaluationConfig,
    ExtractiveConfig,
    QuestionsConfig,
    ReaderConfig,
    Recipe,
    TransformersConfig,
)
from finemem_pipeline.episodes import Episode
from finemem_pipeline.evaluation.estimate import Rates
from finemem_pipeline.generation import Generator, Sampling
from finemem_pipeline.generation.endpoint import EndpointGenerator
from finemem_pipeline.manager.policy import Prompter
from finemem_pipeline.memory import CountTokens
from finemem_pipeline.questions import ClozeWriter, PromptedWriter, Writer
from finemem_pipeline.reasoning import Reasoner
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.judge import Judge, RubricJudge
from finemem_pipeline.reasoning.prompted import PromptedReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reasoning.whole import WholeText
from finemem_pipeline.retrieval import BM25, Everything, Retriever
from finemem_pipeline.retrieval.dense import Dense, mean_encoder, sentence_encoder
from finemem_pipeline.retrieval.hybrid import Hybrid
from finemem_pipeline.retrieval.timed import TimedRetriever
from finemem_pipeline.rewards import Variant

PLANTED_FOLDER = Path("data/01_raw/planted")


def raw_streams(data: DataConfig) -> Path:
    """The folder or file to read; planted streams are generated there unless they stand there already."""
    if data.source != "planted":
        assert data.path is not None  # DataConfig saw to it
        return data.path
    folder = data.path or PLANTED_FOLDER
    planted.write(folder, planted.PlantedSpec(**data.planted.model_dump()))
    store.put(folder)
    return folder


def raw_files(data: DataConfig) -> list[Path]:
    """The files behind the three sets."""
    path = raw_streams(data)
    return list(dict.fromkeys(file for split in SPLITS for file in FINDERS[data.source](path, split)))


def seeds(manager: str, evaluation: EvaluationConfig) -> list[int]:
    """Those that a manager plays every stream with; one that does not sample has a single one."""
    spoken = evaluation.generator.temperature if evaluation.generator is not None else 0.0
    samples = (manager in POLICIES and evaluation.temperature > 0) or (manager in MODEL_MANAGERS and spoken > 0)
    return evaluation.seeds if samples else [0]


def passes(manager: str, evaluation: EvaluationConfig) -> int:
    """How often a manager plays every stream: once for each of its trainings and seeds."""
    trainings = 1 + len(evaluation.training_seeds) if manager in TRAINED else 1
    return trainings * len(seeds(manager, evaluation))


def rates(evaluation: EvaluationConfig) -> dict[str, Rates]:
    """What calls to the manager's and to the reader's model cost."""
    return {role: Rates(**getattr(evaluation.rates, role).model_dump()) for role in ("manager", "reader")}


def chunk_cutter(data: DataConfig, recipe: Recipe) -> Callable[[Episode], Episode]:
    """Splits the chunks of an episode to data.max_chunk_tokens tokens of the policy; does nothing where it is null."""
    most = data.max_chunk_tokens
    if most is None:
        return lambda episode: episode
    counted = count_tokens(recipe.model)
    return lambda episode: cut_chunks(episode, most, counted)


@lru_cache(maxsize=4)
def count_tokens(model: str) -> CountTokens:
    """Token counts of the model's tokenizer; texts seen before are not counted again."""
    from transformers import AutoTokenizer

    store.fetch(Path(model))
    tokenizer = AutoTokenizer.from_pretrained(model)
    return lru_cache(maxsize=200_000)(lambda text: len(tokenizer.encode(text, add_special_tokens=False)))


def generator(config: EndpointConfig | TransformersConfig) -> Generator:
    """The language model behind a config."""
    if isinstance(config, EndpointConfig):
        return endpoint(config)
    from finemem_pipeline.generation.local import LocalGenerator

    return LocalGenerator(config.model, template_arguments={"enable_thinking": False})


def endpoint(config: EndpointConfig) -> EndpointGenerator:
    """A client of an OpenAI-compatible server; the key comes from the environment."""
    return EndpointGenerator(
        config.base_url,
        config.model,
        api_key=os.environ.get(config.api_key_env),
        timeout=config.timeout,
        concurrency=config.concurrency,
        attempts=config.attempts,
        extra_body=config.extra_body or None,
    )


def sampling(config: EndpointConfig | TransformersConfig) -> Sampling:
    """How that model decodes. A local one has random numbers of its own, whatever else is drawn in this process."""
    seed = 0 if isinstance(config, TransformersConfig) and config.temperature > 0 else None
    return Sampling(max_tokens=config.max_tokens, temperature=config.temperature, seed=seed)


def reasoner(config: ExtractiveConfig | EndpointConfig | TransformersConfig) -> Reasoner:
    """Who answers from retrieved texts."""
    if isinstance(config, ExtractiveConfig):
        return ExtractiveReasoner()
    return PromptedReasoner(generator(config), sampling(config))


def judge(config: EndpointConfig | TransformersConfig | None) -> Judge | None:
    """Who scores what no rule can score."""
    return None if config is None else RubricJudge(generator(config), sampling(config))


def question_writer(config: QuestionsConfig) -> Writer:
    """Who writes chunk questions."""
    if isinstance(config.writer, ClozeConfig):
        return ClozeWriter()
    return PromptedWriter(generator(config.writer), sampling(config.writer))


def retriever(config: ReaderConfig, clock: Clock | None = None) -> Retriever:
    """Who finds the items of a memory, on the clock if there is one."""
    chosen = config.retriever
    found: Retriever
    if isinstance(chosen, BM25Config):
        found = BM25(k1=chosen.k1, b=chosen.b)
    elif isinstance(chosen, DenseConfig):
        found = _dense(chosen.model, chosen.encoder)
    else:
        found = Hybrid(BM25(k1=chosen.k1, b=chosen.b), _dense(chosen.model, chosen.encoder))
    return found if clock is None else TimedRetriever(found, clock)


@lru_cache(maxsize=1)
def _dense(model: str, encoder: Encoder) -> Dense:
    """One copy of the model and of its embeddings serves reader and managers."""
    return Dense(sentence_encoder(model) if encoder == "sentence_transformers" else mean_encoder(model))


def reader(config: ReaderConfig, clock: Clock | None = None) -> Reader:
    """Retriever, reasoner, scorer, judge and answer cache."""
    return Reader(
        retriever(config, clock),
        reasoner(config.reasoner),
        k=config.k,
        cache=AnswerCache(config.cache),
        max_unscored_share=config.max_unscored_share,
        judge=judge(config.judge),
    )


def whole_reader(made: Reader) -> Reader:
    """The same reader, shown the whole memory in its order instead of the k items that fit the question."""
    return made.but(retriever=Everything(), reasoner=WholeText(made.reasoner), k=sys.maxsize)


def reader_identity(config: ReaderConfig, made: Reader) -> dict[str, Any]:
    """What the answers of a reader depend on beside questions and memories."""
    return {
        "reasoner": made.reasoner.identity,
        "retriever": config.retriever.model_dump(mode="json"),
        "k": config.k,
        **({} if made.judge is None else {"judge": made.judge.identity}),
    }


def prompter(recipe: Recipe, config: ReaderConfig, clock: Clock | None = None) -> Prompter:
    """What a language-model manager is shown."""
    return Prompter(retriever(config, clock), count_tokens(recipe.model), recipe.memory_tokens)


def plain(variant: Variant) -> dict[str, Any]:
    """A reward variant as JSON holds it."""
    terms = {name: asdict(term) for name, term in variant.terms.items()}
    return {"name": variant.name, "advantage": variant.advantage, "terms": terms}


def provenance(summary: dict[str, Any], inputs: dict[str, Any], held_out: dict[str, Any]) -> dict[str, str]:
    """What was run, for the head of a report; without a training or an input record, of the held-out streams alone."""
    trained = (
        {
            "reward variant": summary["variant"],
            "recipe": summary["recipe"],
            "base model": summary["model"],
            "updates": str(summary["steps"]),
            "seed": str(summary["seed"]),
        }
        if summary
        else {}
    )
    read = {"data": f"{inputs['name']}, sha256 {inputs['sha256'][:12]}"} if inputs else {}
    tested = f"{held_out['name']}, sha256 {held_out['sha256'][:12]}" if held_out else "test split"
    return {**trained, **read, "held out": tested, "code": git_commit()}


def git_commit() -> str:
    """The commit of the checkout, '+' if it was changed since, or 'unknown' where there is no repository or no git."""
    try:
        told = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return told.stdout.strip() or "unknown"
