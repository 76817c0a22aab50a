"""Parameters as closed, typed models: one per section of conf/base/parameters_*.yml.

An unknown key, a wrong type or a name that is in no table stops a run before its first node. Config ends at the
door: `wiring.py` turns these models into objects with ordinary arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    field_validator,
    model_validator,
)

from finemem_pipeline.benchmarks import BENCHMARKS
from finemem_pipeline.benchmarks.planted import PlantedSpec
from finemem_pipeline.benchmarks.streams import SPLITS
from finemem_pipeline.credit import ALONE, SCHEMES
from finemem_pipeline.credit.shapley import MOST, SUBSETS
from finemem_pipeline.errors import DataError, FinememError, unknown
from finemem_pipeline.rewards import Variant, VariantError, variant
from finemem_pipeline.study.families import FAMILIES
from finemem_pipeline.study.habits import HABITS


class ConfigError(FinememError):
    """A parameter that cannot be used."""


class Section(BaseModel):
    """Base of every section: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


def _split(value: Any) -> Any:
    """Lists given on the command line are joined by '+', as Kedro splits on commas; one number is a list of one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    return [part for part in value.split("+") if part] if isinstance(value, str) else value


def _pair(value: Any) -> Any:
    """one/other"""
    parts = value.split("/") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        raise ValueError(f"expected two names as in one/other, found {value!r}")
    return tuple(parts)


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a whole number, found {value}")
    return value


Names = Annotated[list[str], BeforeValidator(_split)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, BeforeValidator(_no_truth), Field(ge=1)]
Whole = Annotated[int, BeforeValidator(_no_truth), Field(ge=0)]


class PlantedConfig(Section):
    """Generated streams, used where data.source is 'planted'."""

    train: Count = 256
    """Streams to train on."""
    dev: Count = 16
    test: Count = 24
    chunks: Annotated[list[int], BeforeValidator(_split), Field(min_length=2, max_length=2)] = [3, 3]
    """Least and most chunks of a stream."""
    facts_per_chunk: Count = 2
    distractors_per_chunk: Whole = 3
    corrections: Share = 0.2
    """Share of the facts that are corrected by a later chunk."""
    two_step: Share = 0.1
    """Share of the questions that need two chunks."""
    repeats: Share = 0.0
    """Share of the facts that a later chunk states again."""
    stated_in: Share = 1.0
    """Facts stand in this first part of the chunks; the others hold distractors alone."""
    questions: Count | None = None
    """Final questions of a stream at most; null asks all."""
    seed: Whole = 0

    @model_validator(mode="after")
    def _can_be_generated(self) -> Self:
        try:
            PlantedSpec(**self.model_dump())
        except DataError as error:
            raise ValueError(re.sub("^planted", "data.planted", str(error), flags=re.MULTILINE)) from error
        return self


class DataConfig(Section):
    """What streams are read."""

    source: str = "planted"
    """A loader of benchmarks.BENCHMARKS."""
    path: Path | None = None
    """A folder with train, dev and test files, or one file. Planted streams are put there (null: 01_raw/planted)."""
    sources: Names = []
    """Keep only these sources of a mixed data set (squad, mquake, …); empty keeps all."""
    max_chunk_tokens: Count | None = None
    """Longer chunks are split into several, none is cut off."""
    limits: dict[str, Count] = {}
    """At most so many streams per split, spread evenly over the sources."""
    planted: PlantedConfig = PlantedConfig()

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, source: str) -> str:
        if source not in BENCHMARKS:
            raise ValueError(unknown("data.source", source, BENCHMARKS, "loader"))
        return source

    @model_validator(mode="after")
    def _sets_can_be_found(self) -> Self:
        for split in self.limits:
            if split not in SPLITS:
                raise ValueError(unknown("data.limits", split, SPLITS, "split"))
        if self.source != "planted" and self.path is None:
            raise ValueError(f"data.source={self.source} needs data.path: a folder with train, dev and test files")
        return self


class EndpointConfig(Section):
    """Any OpenAI-compatible server."""

    kind: Literal["endpoint"] = "endpoint"
    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable with the key; it may be unset for servers that ask for none."""
    timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds for one request."""
    concurrency: Count = 16
    attempts: Count = 10
    """With waits of 1, 2, 4, … at most 60 seconds between them."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_tokens: Count = 256
    extra_body: dict[str, Any] = {}
    """Sent along with every request, e.g. {chat_template_kwargs: {enable_thinking: false}} for Qwen3 on vLLM."""


class TransformersConfig(Section):
    """A local transformers model."""

    kind: Literal["transformers"] = "transformers"
    model: str
    """Hub id or local path."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_tokens: Count = 128


class ExtractiveConfig(Section):
    """Offline and deterministic: at most one sentence of the retrieved items."""

    kind: Literal["extractive"] = "extractive"


class ClozeConfig(Section):
    """Offline and deterministic: blanks in the chunk's own sentences."""

    kind: Literal["cloze"] = "cloze"


ReasonerConfig = Annotated[ExtractiveConfig | EndpointConfig | TransformersConfig, Field(discriminator="kind")]
WriterConfig = Annotated[ClozeConfig | EndpointConfig | TransformersConfig, Field(discriminator="kind")]


class BM25Config(Section):
    """Shared words, no model."""

    kind: Literal["bm25"] = "bm25"
    k1: Annotated[float, Field(ge=0)] = 1.5
    b: Share = 0.75


Encoder = Literal["sentence_transformers", "transformers"]
"""How an embedding model is read: as a sentence-transformers model, or as an encoder averaged over its tokens."""


class DenseConfig(Section):
    """The cosine of embeddings."""

    kind: Literal["dense"] = "dense"
    model: str
    """Hub id or local path."""
    encoder: Encoder = "sentence_transformers"


class HybridConfig(Section):
    """Reciprocal rank fusion of the two."""

    kind: Literal["hybrid"] = "hybrid"
    model: str
    """Hub id or local path of the embedding model."""
    encoder: Encoder = "sentence_transformers"
    k1: Annotated[float, Field(ge=0)] = 1.5
    b: Share = 0.75


RetrieverConfig = Annotated[BM25Config | DenseConfig | HybridConfig, Field(discriminator="kind")]


class ReaderConfig(Section):
    """Who answers questions from a memory."""

    retriever: RetrieverConfig = BM25Config()
    k: Count = 2
    """Items retrieved for a question."""
    reasoner: ReasonerConfig = ExtractiveConfig()
    judge: EndpointConfig | TransformersConfig | None = Field(None, discriminator="kind")
    """Scores the questions that only a language model can score; null leaves them unscored."""
    cache: Path | None = Path("data/07_model_output/answers.sqlite")
    """Answers and verdicts already paid for; null keeps them in memory only."""
    max_unscored_share: Share = 0.1
    """More unscored answers in one batch stop the run."""


class QuestionsConfig(Section):
    """Chunk questions for the Chunk-level Step Reward."""

    per_chunk: Whole = 5
    writer: WriterConfig = ClozeConfig()
    verifier: ReasonerConfig = ExtractiveConfig()
    cache: Path = Path("data/04_feature/questions.sqlite")


class LoraConfig(Section):
    r: Count = 16
    alpha: Count = 32
    dropout: Share = 0.0
    layers: Count | None = None
    """Adapt only the last so many layers: the backward pass ends there. Null adapts all."""


class Recipe(Section):
    """What is trained, and with which constants of optimisation."""

    model: str
    """Hub id or local path of the base model."""
    lora: LoraConfig | None = LoraConfig()
    """Null trains all weights."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""
    learning_rate: Annotated[float, Field(gt=0)]
    warmup_steps: Whole = 0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    micro_batch: Count = 6
    """Rows of the largest size per forward and backward pass; of smaller ones as many as take the same tokens."""
    max_completion_tokens: Count = 160
    memory_tokens: Count = 512
    """What of a memory is shown to the manager at most."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    gradient_checkpointing: bool = False
    warm_start_learning_rate: Annotated[float, Field(gt=0)] = 1e-3


class WarmStartConfig(Section):
    """Supervised imitation of the scripted teacher, before reinforcement learning."""

    steps: Whole = 8
    """Updates after which the policy is handed to reinforcement learning; 0 starts from the base model."""
    batch: Count = 8
    """Demonstrations per update."""
    imitation_steps: Whole = 24
    """At most so many updates for the baseline that imitates the teacher to convergence; 0 leaves it out."""
    patience: Count = 2
    """It has converged when the loss on held-out demonstrations did not improve this often in a row."""
    check_every: Count = 8


class TrainingConfig(Section):
    """Step-level GRPO."""

    recipe: str = "smollm2_135m"
    """A name in parameters_recipes.yml."""
    reward: str = "fine_mem"
    """A name in parameters_rewards.yml."""
    seed: Whole = 0
    steps: Whole = 6
    """Optimiser updates; 0 leaves the warm-started policy as it is."""
    group_size: Count = 6
    """G, rollouts of the same stream; 1 only with an advantage that compares with earlier updates."""
    episodes_per_step: Count = 2
    question_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the final questions drawn per episode, shared by its siblings, rounded up."""
    question_floor: Count = 4
    """At least so many are drawn, or all."""
    retention_questions: Count = 5
    """Older chunks' questions asked at every step, where the reward variant pays for retention."""
    epsilon: Annotated[float, Field(gt=0)] = 0.2
    """Clip range of the probability ratio."""
    kl: Annotated[float, Field(ge=0)] = 0.0
    """Coefficient of the KL term against the warm-started policy."""
    checkpoint_every: Count = 5
    """Updates between two checkpoints, of the warm start too."""
    keep_checkpoints: Count = 2
    """So many of the newest stay."""
    resume: Literal["auto", "never"] = "auto"
    """auto continues from the newest complete checkpoint of the same configuration, or reuses its finished result."""
    processes: Count = 1
    """That train together on this machine, each with its share of the streams: one per GPU. Where a launcher has
    started the command, on one machine or several, it says how many."""
    zero_stage: Literal[2, 3] = 2
    """What several processes share by DeepSpeed's ZeRO: 2 optimiser and gradients, 3 the weights too."""
    folder: Path = Path("data/06_models")
    warm_start: WarmStartConfig = WarmStartConfig()


def _known(names: list[str], known: Iterable[str], where: str, what: str) -> list[str]:
    for name in names:
        if name not in set(known):
            raise ValueError(unknown(where, name, known, what))
    if not names:
        raise ValueError(f"{where} is empty. Known: {', '.join(known)}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{where}: '{twice}' stands there twice, and would be counted twice.")
    return names


FULL_STEPS = (5, 10, 20, 50)

TEST = "test"
RESERVED = (TEST, "train")
"""Names of sets that the data pipeline makes."""

DEFAULT_MANAGERS = ("trained", "warm_started", "untrained", "imitation", "raw_chunks", "sentences", "no_memory")
MODEL_MANAGERS = (
    "prompted", "overwrite_style", "compact_style", "three_tier_style", "fact_list_style", "linked_notes_style",
)  # fmt: skip
"""Those that ask the language model of evaluation.generator."""
MANAGERS = (*DEFAULT_MANAGERS, "latest_wins", "long_context", *MODEL_MANAGERS)
TRAINED = {"trained", "warm_started", "imitation"}
"""Managers that `train` makes."""
POLICIES = {*TRAINED, "untrained"}
"""Managers that play by the recipe."""
MATRIX_MANAGERS = ("trained", "warm_started", "untrained", "raw_chunks", "no_memory")
"""The first two are compared in every cell."""


class BenchmarkConfig(Section):
    """A set to evaluate on."""

    source: str
    """A loader of benchmarks.BENCHMARKS."""
    path: Path
    """A folder or a file, or what else the loader knows to find."""
    split: str = "test"
    sources: Names = []
    """Keep only these sources; empty keeps all."""


class BenchmarksConfig(RootModel[dict[str, BenchmarkConfig]]):
    """Held-out sets by name."""

    @model_validator(mode="after")
    def _sets_can_be_told_apart_and_read(self) -> Self:
        for name, benchmark in self.root.items():
            if name in RESERVED:
                raise ValueError(f"benchmarks.{name}: the name is taken by the data pipeline's own {name} set.")
            if benchmark.source not in BENCHMARKS:
                raise ValueError(unknown(f"benchmarks.{name}.source", benchmark.source, BENCHMARKS, "loader"))
        return self


class RatesConfig(Section):
    """What calls to a model cost. An estimate goes by it, nothing else does."""

    instructions: Whole = 0
    """Tokens of a prompt beside what is read."""
    reply: Whole = 0
    """Tokens of a reply."""
    read_per_second: Annotated[float, Field(gt=0)] = 1000.0
    """Tokens of prompts, over all calls at the same time."""
    write_per_second: Annotated[float, Field(gt=0)] = 100.0
    """Tokens of replies, likewise."""
    price_in: Annotated[float, Field(ge=0)] | None = None
    """Of a million prompt tokens, in the currency of your bill; null: no money is told."""
    price_out: Annotated[float, Field(ge=0)] | None = None


class EvaluationRates(Section):
    """The models of an evaluation."""

    manager: RatesConfig = RatesConfig(instructions=120, reply=100, read_per_second=400.0, write_per_second=25.0)
    """Shipped: the small default model on one thread of a CPU."""
    reader: RatesConfig = RatesConfig(reply=10, read_per_second=100_000.0, write_per_second=100_000.0)
    """Shipped: the extractive reader."""


class EvaluationConfig(Section):
    """Held-out streams."""

    benchmarks: Names = [TEST]
    """Names of `benchmarks`; test is the data pipeline's own test set."""
    path: Path | None = None
    """A file of its own to evaluate on, instead of benchmarks."""
    source: str = "realbench"
    """The loader of evaluation.path."""
    managers: Names = list(DEFAULT_MANAGERS)
    generator: EndpointConfig | TransformersConfig | None = Field(None, discriminator="kind")
    """Language model of `prompted` and the managers named …_style; null takes the recipe's base model, greedily."""
    window: Count = 32768
    """Tokens of the stream that `long_context` keeps."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """At which policies decode; 0 is greedy."""
    seeds: Annotated[list[Whole], BeforeValidator(_split), Field(min_length=1)] = [0, 1, 2]
    """A manager that samples plays every stream once with each; one that does not plays it once."""
    training_seeds: Annotated[list[Whole], BeforeValidator(_split)] = []
    """Further trainings of the same configuration, by their seeds, whose policies play too."""
    limit: Count | None = None
    """At most so many streams of each benchmark, spread evenly over its sources."""
    batch: Count = 24
    """Streams played at the same time."""
    resamples: Count = 2000
    seed: Whole = 0
    """Of the bootstrap."""
    dry_run: bool = False
    """Print what the evaluation would cost, and play nothing."""
    rates: EvaluationRates = EvaluationRates()

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, source: str) -> str:
        if source not in BENCHMARKS:
            raise ValueError(unknown("evaluation.source", source, BENCHMARKS, "loader"))
        return source

    @model_validator(mode="after")
    def _managers_are_known(self) -> Self:
        _known(self.managers, MANAGERS, "evaluation.managers", "manager")
        return self

    @model_validator(mode="after")
    def _sets_are_named_once(self) -> Self:
        _known(self.benchmarks, self.benchmarks, "evaluation.benchmarks", "benchmark")
        for name in ("seeds", "training_seeds"):
            if len(set(found := getattr(self, name))) < len(found):
                raise ValueError(f"evaluation.{name}: found {found}, each may stand there once.")
        if self.path is not None and self.benchmarks != [TEST]:
            raise ValueError(
                "evaluation.path and evaluation.benchmarks: both say what to evaluate on. Give the file a name in "
                "`benchmarks`, or leave one of the two out."
            )
        return self

    def held_out(self, benchmarks: BenchmarksConfig) -> dict[str, BenchmarkConfig | None]:
        """The sets to evaluate on by name; None: the data pipeline's own test set."""
        if self.path is not None:
            return {self.path.name: BenchmarkConfig(source=self.source, path=self.path)}
        return {name: None if name == TEST else benchmarks.root[name] for name in self.benchmarks}


Pair = Annotated[tuple[str, str], BeforeValidator(_pair)]


class LearningConfig(Section):
    """What a small policy learns from each reward variant, on planted streams."""

    variants: Names = []
    """Names of `rewards`; none: nothing is learned. The first is the one that gradients are measured half way of."""
    compare: Annotated[list[Pair], BeforeValidator(_split)] = []
    """Pairs of variants, one/other, whose difference is told where both were run."""
    steps: Annotated[list[Count], BeforeValidator(_split), Field(min_length=1)] = [10]
    """T of the streams."""
    updates: Count = 150
    siblings: Count = 8
    learning_rate: float = Field(0.5, gt=0.0)
    corrections: Share = 0.3
    """Share of the facts that a later chunk corrects."""
    overwrite: float = Field(0.3, gt=0.0, lt=1.0)
    """The chance of overwriting an alike item before the first update. Near 0 it stays: only keeping is learned."""
    gradients: Whole = 100
    """Groups that the noise of the gradient is measured from; 0: it is not measured."""
    workers: Count | None = None
    """Runs at the same time; null: one per core."""


class CreditBenchConfig(Section):
    """How right credit is: streams of known kinds, scripted managers, causal truth; and what it teaches."""

    full: bool = False
    """All: streams of T = 5, 10, 20 and 50 to check credit on, and what every variant of `rewards` teaches."""
    families: Names = list(FAMILIES)
    """Kinds of planted streams; with another data.source its own test streams are taken."""
    habits: Names = list(HABITS)
    """Scripted managers."""
    schemes: Names = list(SCHEMES)
    steps: Annotated[list[Count], BeforeValidator(_split), Field(min_length=1)] = [5, 10, 20]
    """T of the planted streams."""
    seeds: Count = 10
    orders: Count = 8
    """Orders of the steps that the Shapley value is sampled from."""
    streams: Count | None = None
    """At most so many streams of a data.source that is not planted, spread evenly over its sources."""
    folder: Path = Path("data/07_model_output/credit_bench")
    learning: LearningConfig = LearningConfig()

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        _known(self.families, FAMILIES, "credit_bench.families", "family")
        _known(self.habits, HABITS, "credit_bench.habits", "habit")
        _known(self.schemes, SCHEMES, "credit_bench.schemes", "scheme")
        return self

    @property
    def lengths(self) -> tuple[int, ...]:
        """T of the planted streams that credit is checked on."""
        return FULL_STEPS if self.full else tuple(self.steps)


class ReadersConfig(RootModel[dict[str, ReaderConfig]]):
    """Readers by name: of each, what it has in place of the section `reader`."""

    def reader(self, name: str, shared: ReaderConfig) -> ReaderConfig:
        own = self.root[name]
        return shared.model_copy(update={field: getattr(own, field) for field in own.model_fields_set})


class MatrixConfig(Section):
    """Backbones trained with the same streams, seeds, reward and reader, each judged by several readers."""

    backbones: Names = ["smollm2_135m", "tiny_llama"]
    """Names of `recipes`."""
    readers: ReadersConfig = ReadersConfig({"extractive": ReaderConfig()})
    managers: Names = list(MATRIX_MANAGERS)
    """Rows of a cell, in place of evaluation.managers."""

    @model_validator(mode="after")
    def _cells_can_be_compared(self) -> Self:
        _known(self.backbones, self.backbones, "matrix.backbones", "recipe")
        _known(self.managers, MANAGERS, "matrix.managers", "manager")
        missing = [name for name in MATRIX_MANAGERS[:2] if name not in self.managers]
        if missing:
            raise ValueError(f"matrix.managers: {' and '.join(missing)} is what a cell is about, and must be there.")
        if not self.readers.root:
            raise ValueError("matrix.readers is empty. Name one at least: {extractive: {reasoner: {kind: extractive}}}")
        return self


@dataclass(frozen=True, slots=True)
class Child:
    """One training of a comparison."""

    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Its namespace in Kedro, and its job where one is made of it."""
        return f"{self.variant}_seed_{self.seed}"

    def dataset(self, name: str) -> str:
        """A data set of its own. A dot would keep nodes of other namespaces from reading it without a warning."""
        return f"{self.name}__{name}"


class CompareConfig(Section):
    """Reward variants trained from one warm start and evaluated on the same streams, by the same reader."""

    variants: Names = ["fine_mem", "outcome_only"]
    """Names of `rewards`. The others are compared with the last one."""
    seeds: Annotated[list[Whole], BeforeValidator(_split), Field(min_length=1)] = [0]
    """Of the training: every variant is trained once with each."""
    steps: Count = 4
    """Updates of each training, in place of training.steps."""
    managers: Names = ["warm_started", "raw_chunks", "no_memory"]
    """Further rows of the table, from evaluation.managers' choice; not those that `train` makes of a variant."""
    map_streams: Count = 8
    """Held-out streams in the credit maps, spread evenly over the sources."""

    @model_validator(mode="after")
    def _children_can_be_told_apart(self) -> Self:
        _known(self.variants, self.variants, "compare.variants", "reward variant")
        allowed = [name for name in MANAGERS if name not in ("trained", "imitation")]
        if self.managers:
            _known(self.managers, allowed, "compare.managers", "manager of a comparison")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"compare.seeds: found {self.seeds}, each may stand there once.")
        for name in self.variants:
            if not re.fullmatch(r"\w+", name, re.ASCII) or name in MANAGERS:
                raise ValueError(
                    f"compare.variants: '{name}' cannot be the name of a row and of a namespace: letters, digits and _ "
                    "can, unless a manager is called so."
                )
        return self

    @property
    def children(self) -> list[Child]:
        """Every variant with every seed."""
        return [Child(variant, seed) for variant in self.variants for seed in self.seeds]


class RewardsConfig(RootModel[dict[str, dict[str, Any]]]):
    """Reward variants by name; `rewards.variant` reads and checks each."""

    @model_validator(mode="after")
    def _variants_are_sound(self) -> Self:
        for name in self.root:
            try:
                self.variant(name)
            except VariantError as error:
                raise ValueError(str(error)) from error
        return self

    def variant(self, name: str) -> Variant:
        if name not in self.root:
            raise ConfigError(unknown("training.reward", name, self.root, "reward variant"))
        return variant(name, self.root[name])


class RecipesConfig(RootModel[dict[str, Recipe]]):
    """Recipes by name."""

    def recipe(self, name: str) -> Recipe:
        if name not in self.root:
            raise ConfigError(unknown("training.recipe", name, self.root, "recipe"))
        return self.root[name]


class Parameters(Section):
    """All parameters of a run."""

    data: DataConfig
    questions: QuestionsConfig
    reader: ReaderConfig
    rewards: RewardsConfig
    recipes: RecipesConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    benchmarks: BenchmarksConfig = BenchmarksConfig({})
    credit_bench: CreditBenchConfig = CreditBenchConfig()
    matrix: MatrixConfig = MatrixConfig()
    compare: CompareConfig = CompareConfig()

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.training.reward in self.rewards.root:  # else told by _strangers
            self.need_for_training(self.training.reward)
        return self

    def need_for_training(self, name: str) -> None:
        """Raises ValueError where the variant of that name cannot be trained with the other parameters."""
        chosen = self.rewards.variant(name)
        if self.training.group_size == 1 and chosen.advantage not in ALONE:
            raise ValueError(
                f"training.group_size: found 1, but rewards.{name} compares siblings (advantage {chosen.advantage}). "
                f"Take at least 2, or a variant with advantage {' or '.join(ALONE)}."
            )
        if SUBSETS in chosen.probes and self.reader.k > MOST:
            raise ValueError(
                f"reader.k: found {self.reader.k}, but rewards.{name} shares credit by shapley, which takes {MOST} at "
                "most."
            )


def parse_parameters(raw: Mapping[str, Any]) -> Parameters:
    """The parameters as models. Raises ConfigError listing every fault, each with the nearest known name."""
    faults = list(_strangers(raw))
    try:
        parameters = Parameters.model_validate(dict(raw))
    except ValidationError as error:
        faults += [_explain(fault, raw) for fault in error.errors()]
    if faults:
        raise ConfigError("The parameters cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults))
    return parameters


def _strangers(raw: Mapping[str, Any]) -> Iterator[str]:
    """Names in one section that another section should define."""
    for key, section, what in (("reward", "rewards", "reward variant"), ("recipe", "recipes", "recipe")):
        training, known = raw.get("training"), raw.get(section)
        chosen = training.get(key) if isinstance(training, Mapping) else None
        if isinstance(chosen, str) and isinstance(known, Mapping) and chosen not in known:
            yield unknown(f"training.{key}", chosen, known, what)
    benchmarks = raw.get("benchmarks")
    there = [TEST, *(benchmarks if isinstance(benchmarks, Mapping) else ())]
    for section, key, names, what in (
        ("compare", "variants", raw.get("rewards"), "reward variant"),
        ("matrix", "backbones", raw.get("recipes"), "recipe"),
        ("evaluation", "benchmarks", there, "benchmark"),
    ):
        given = raw.get(section)
        wanted = _split(given.get(key)) if isinstance(given, Mapping) else None
        for name in wanted if isinstance(wanted, list) else ():
            if isinstance(name, str) and names is not None and name not in names:
                yield unknown(f"{section}.{key}", name, names, what)


def _explain(fault: Any, raw: Mapping[str, Any]) -> str:
    """One line for one fault: where, what was found, what is allowed."""
    place = [part for part in fault["loc"] if part not in _KINDS]
    where = ".".join(str(part) for part in place)
    if fault["type"] == "extra_forbidden":
        return unknown(
            ".".join(str(p) for p in place[:-1]) or "params", str(place[-1]), _allowed(place[:-1], raw), "parameter"
        )
    if fault["type"] == "union_tag_invalid":
        expected = fault["ctx"]["expected_tags"].replace("'", "").split(", ")
        return unknown(f"{where}.kind", str(fault["ctx"]["tag"]), expected, "kind")
    if fault["type"] == "value_error":
        message = str(fault["ctx"]["error"])
        return message if not where or where.split(".")[0] in message else f"{where}: {message}"
    return f"{where}: {fault['msg']}, found {fault['input']!r}"


_KINDS = ("extractive", "endpoint", "transformers", "cloze", "bm25", "dense", "hybrid")


def _allowed(place: list[Any], raw: Any) -> list[str]:
    """The keys that the model at `place` knows."""
    model: Any = Parameters
    for part in place:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, RootModel):
            model = get_args(model.model_fields["root"].annotation)[1]
            raw = raw[part]
            continue
        raw = raw[part]
        annotation = model.model_fields[part].annotation
        choices = getattr(annotation, "__args__", (annotation,))
        candidates = [choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)]
        kind = raw.get("kind") if isinstance(raw, Mapping) else None
        fitting = [c for c in candidates if "kind" not in c.model_fields or c.model_fields["kind"].default == kind]
        model = (fitting or candidates)[0]
    return list(model.model_fields)
