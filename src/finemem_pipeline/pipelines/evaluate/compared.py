"""Managers that nobody trained here, by the names they have in evaluation.managers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finemem_pipeline import wiring
from finemem_pipeline.config import EvaluationConfig, ReaderConfig, Recipe
from finemem_pipeline.generation import Generator, Sampling
from finemem_pipeline.manager import Manager
from finemem_pipeline.manager.baselines import NoMemory, RawChunks, SentenceCopier
from finemem_pipeline.manager.fact_list import FactListStyle
from finemem_pipeline.manager.latest_wins import LatestWins
from finemem_pipeline.manager.linked_notes import LinkedNotesStyle
from finemem_pipeline.manager.long_context import LongContext
from finemem_pipeline.manager.overwrite import CompactStyle, OverwriteStyle
from finemem_pipeline.manager.policy import PolicyManager
from finemem_pipeline.manager.three_tier import ThreeTierStyle
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.training import fingerprint

HOW_FAST = {"api_key_env", "timeout", "concurrency", "attempts"}
"""What of a backend changes no reply."""

Makers = dict[str, Callable[[], Manager]]
Speaker = Callable[[], tuple[Generator, Sampling]]
"""Loads the language model, and tells how it decodes."""


def scripted(evaluation: EvaluationConfig, recipe: Recipe) -> Makers:
    """Those that need no language model."""
    return {
        "no_memory": NoMemory,
        "raw_chunks": RawChunks,
        "sentences": SentenceCopier,
        "latest_wins": LatestWins,
        "long_context": lambda: LongContext(wiring.count_tokens(recipe.model), evaluation.window),
    }


def speaking(recipe: Recipe, reader: ReaderConfig, speaker: Speaker) -> Makers:
    """Those that ask a language model, which `speaker` loads for each of them."""
    count_tokens = wiring.count_tokens(recipe.model)
    limit = recipe.memory_tokens
    return {
        "prompted": lambda: _prompted(*speaker(), recipe, reader),
        "overwrite_style": lambda: OverwriteStyle(*speaker(), count_tokens, limit),
        "compact_style": lambda: CompactStyle(*speaker(), count_tokens, limit),
        "three_tier_style": lambda: ThreeTierStyle(*speaker(), count_tokens),
        "fact_list_style": lambda: FactListStyle(*speaker(), count_tokens, wiring.retriever(reader)),
        "linked_notes_style": lambda: LinkedNotesStyle(*speaker(), count_tokens, wiring.retriever(reader)),
    }


def speaker(evaluation: EvaluationConfig, recipe: Recipe) -> tuple[Generator, Sampling]:
    """The language model of evaluation.generator, or else the recipe's base model, greedily."""
    if evaluation.generator is not None:
        return wiring.generator(evaluation.generator), wiring.sampling(evaluation.generator)
    from finemem_pipeline.training.policy import finished_policy

    base = finished_policy(recipe.model, None, recipe.precision, adapter=recipe.lora is not None)
    return base, Sampling(max_tokens=recipe.max_completion_tokens, temperature=0.0)


def spoken_by(evaluation: EvaluationConfig) -> dict[str, Any]:
    """What the replies of evaluation.generator depend on; empty where it is the recipe's base model."""
    chosen = evaluation.generator
    if chosen is None:
        return {}
    return {**chosen.model_dump(mode="json", exclude=HOW_FAST), "files": fingerprint.base_model(chosen.model)}


def reader_of(manager: str, made: Reader) -> Reader:
    """Who reads a manager's memory: a long context is read as a whole, any other memory by its k best items."""
    return wiring.whole_reader(made) if manager == "long_context" else made


def _prompted(generator: Generator, sampling: Sampling, recipe: Recipe, reader: ReaderConfig) -> Manager:
    return PolicyManager(generator, wiring.prompter(recipe, reader), sampling)
