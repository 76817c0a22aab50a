"""A transformers model in this process. Importing this module loads torch."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TopPLogitsWarper,
)

from finemem_pipeline.generation import Conversation, GeneratorError, Sampling
from finemem_pipeline.rollouts import Completion

_alone = threading.Lock()
"""The models of a process share its device and torch's random numbers: a policy that plays and a model that reads
beside it take turns."""


class LocalGenerator:
    """A folder or Hub id of a causal language model, with a LoRA adapter on top if one is given.

    Prompts of like length are generated together, as many as fit into `max_batch_tokens` (prompt, padding and
    max_tokens counted); in bfloat16 the padding can tip a close call between two tokens. `template_arguments` go to
    the chat template, e.g. {"enable_thinking": False} for Qwen3.
    Raises GeneratorError if the model or the adapter cannot be loaded.
    """

    def __init__(
        self,
        model_path: str | Path,
        adapter: str | Path | None = None,
        *,
        dtype: str = "auto",
        device: str | None = None,
        max_batch_tokens: int = 16384,
        template_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.max_batch_tokens = max_batch_tokens
        self.template_arguments = dict(template_arguments or {})
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model_path)
            self.model = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype)
        except (OSError, ValueError, RuntimeError) as error:
            raise GeneratorError(
                f"no model could be loaded from '{model_path}': {str(error).strip().splitlines()[0]} "
                "Give a folder with config.json, weights and tokenizer, or the id of a model that was downloaded."
            ) from error
        if adapter is not None:
            self.model = _with_adapter(self.model, Path(adapter))
        self.model.to(self.device).eval()
        self.name = _name(model_path, adapter, self.model, self.template_arguments)

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        return complete(
            self.model,
            self.tokenizer,
            conversations,
            sampling,
            max_batch_tokens=self.max_batch_tokens,
            template_arguments=self.template_arguments,
        )


def complete(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Conversation],
    sampling: Sampling,
    *,
    max_batch_tokens: int = 16384,
    template_arguments: Mapping[str, Any] | None = None,
) -> list[Completion]:
    """One completion per conversation, in order, with its prompt and completion ids (the end token included).

    Raises GeneratorError if a prompt leaves no room for max_tokens in the model's context.
    """
    prompts = [_prompt_ids(tokenizer, conversation, template_arguments or {}) for conversation in conversations]
    _check_lengths(model, prompts, sampling)
    ends = _end_ids(model, tokenizer)
    config = _decoding(sampling, ends, _pad_id(tokenizer, ends))
    completions: dict[int, Completion] = {}
    with _alone, torch.random.fork_rng(enabled=sampling.seed is not None), torch.inference_mode():
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        for places in batches([len(prompt) for prompt in prompts], sampling.max_tokens, max_batch_tokens):
            drawn = _draws(sampling, places)
            rows = _generate(model, [prompts[place] for place in places], config, drawn)
            for place, row in zip(places, rows, strict=True):
                completions[place] = _completion(tokenizer, prompts[place], row, ends)
    return [completions[place] for place in range(len(prompts))]


def batches(lengths: Sequence[int], max_tokens: int, max_batch_tokens: int) -> list[list[int]]:
    """Places of `lengths`, longest first, so that n · (longest + max_tokens) ≤ max_batch_tokens in each, or n = 1."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    found: list[list[int]] = []
    room = 0
    for place in order:
        if room == 0:
            found.append([])
            room = max(1, max_batch_tokens // (lengths[place] + max_tokens))
        found[-1].append(place)
        room -= 1
    return found


def _prompt_ids(tokenizer: Any, conversation: Conversation, arguments: Mapping[str, Any]) -> list[int]:
    if tokenizer.chat_template is None:
        raise GeneratorError(f"'{tokenizer.name_or_path}' has no chat template: choose an instruct model")
    text = tokenizer.apply_chat_template(list(conversation), add_generation_prompt=True, tokenize=False, **arguments)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])  # the template wrote the special tokens


def _check_lengths(model: Any, prompts: Sequence[Sequence[int]], sampling: Sampling) -> None:
    context = getattr(model.config, "max_position_embeddings", None)
    longest = max(map(len, prompts), default=0)
    if context is not None and longest + sampling.max_tokens > context:
        raise GeneratorError(
            f"a prompt of {longest} tokens and {sampling.max_tokens} new ones do not fit into the model's context "
            f"of {context}: shorten the memory shown, cut the chunks, or lower max_tokens"
        )


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    return sorted({*ends, tokenizer.eos_token_id} - {None})


def _pad_id(tokenizer: Any, ends: Sequence[int]) -> int:
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or [0])[0]


def _decoding(sampling: Sampling, ends: list[int], pad: int) -> GenerationConfig:
    # What is left open here is filled from the model's own defaults, and a top_k or a penalty would bend the samples.
    settings: dict[str, Any] = {"max_new_tokens": sampling.max_tokens, "repetition_penalty": 1.0, "do_sample": False}
    if sampling.temperature > 0 and sampling.seeds is None:
        settings |= {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return GenerationConfig(**settings, eos_token_id=ends or None, pad_token_id=pad)


def _draws(sampling: Sampling, places: Sequence[int]) -> LogitsProcessorList | None:
    """What draws the tokens of these conversations where each has a seed of its own."""
    if sampling.seeds is None or sampling.temperature == 0:
        return None
    return LogitsProcessorList([_OwnDraws(sampling, [sampling.seeds[place] for place in places])])


class _OwnDraws(LogitsProcessor):
    """Draws a token for each row by a number of its own, and leaves decoding no other choice."""

    def __init__(self, sampling: Sampling, seeds: Sequence[int]) -> None:
        self._temperature = sampling.temperature
        self._nucleus = TopPLogitsWarper(sampling.top_p) if sampling.top_p < 1.0 else None
        self._numbers = np.stack([np.random.default_rng(seed).random(sampling.max_tokens) for seed in seeds])  # (B, L)
        self._begin: int | None = None  # length of the prompts

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._begin = input_ids.size(1) if self._begin is None else self._begin
        scores = scores.double() / self._temperature
        if self._nucleus is not None:
            scores = self._nucleus(input_ids, scores)
        below = scores.softmax(dim=-1).cumsum(dim=-1)  # (B, V)
        numbers = torch.tensor(self._numbers[:, input_ids.size(1) - self._begin, None], device=scores.device)
        chosen = torch.searchsorted(below, numbers * below[:, -1:], right=True).clamp(max=below.size(1) - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


def _generate(
    model: Any, prompts: Sequence[Sequence[int]], config: GenerationConfig, draws: LogitsProcessorList | None = None
) -> list[list[int]]:
    """Sampled ids of each prompt, with whatever stands after the end token."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[config.pad_token_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    # By length, not by token: a pad token may also be the end token of an earlier turn.
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=config,
        logits_processor=draws,
        synced_gpus=False,  # what plays is whole on every process, and waits for none
    )
    rows: list[list[int]] = out[:, longest:].tolist()
    return rows


def _completion(tokenizer: Any, prompt: Sequence[int], row: Sequence[int], ends: Sequence[int]) -> Completion:
    stop = next((place for place, token in enumerate(row) if token in ends), None)
    ids = tuple(row if stop is None else row[: stop + 1])
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return Completion(text, tuple(prompt), ids, finish="length" if stop is None else "stop")


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_config.json").is_file():
        raise GeneratorError(f"no adapter at {adapter}: it needs adapter_config.json, as `train` writes it")
    try:
        return PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, RuntimeError) as error:
        raise GeneratorError(f"the adapter at {adapter} does not fit the model: {error}") from error


def _name(model_path: str | Path, adapter: str | Path | None, model: Any, arguments: Mapping[str, Any]) -> str:
    """Path and state of the weights: a folder that was trained on has another name."""
    parts = [f"{model_path}@{_state(Path(model_path)) or getattr(model.config, '_commit_hash', None)}"]
    if adapter is not None:
        parts.append(f"{adapter}@{_state(Path(adapter))}")
    parts.append(str(model.dtype).removeprefix("torch."))
    parts += [f"{key}={value}" for key, value in sorted(arguments.items())]
    return " ".join(parts)


def _state(folder: Path) -> str | None:
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.iterdir() if path.is_file())
    told = "\n".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
    return hashlib.sha256(told.encode()).hexdigest()[:8]
