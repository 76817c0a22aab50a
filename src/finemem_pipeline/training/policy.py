"""The policy's weights: the trainable model, and the copy that plays.

Token-by-token generation spends its time on layers, and LoRA doubles their number; on a CPU it also wants another dtype
than training. So rollouts are played by a second copy with the adapter merged in, brought up to date before every
update. The probabilities of the two differ by rounding; docs/architecture.md, "Training", gives the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from finemem_pipeline.generation import Conversation, Sampling
from finemem_pipeline.generation.local import complete
from finemem_pipeline.rollouts import Completion
from finemem_pipeline.training import quieten
from finemem_pipeline.training.hardware import decodes_in_bf16, device, keep_freed_memory
from finemem_pipeline.training.zero import whole

quieten()
keep_freed_memory()

TEMPLATE_ARGUMENTS = {"enable_thinking": False}
"""For chat templates that know it (Qwen3): the manager replies at once. Others ignore it."""


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of the base model, padding on the left as generation needs it."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_trainable(model: str, start: Path | None, lora: dict[str, Any] | None) -> PreTrainedModel | PeftModel:
    """The base model in float32 with an adapter to train, from the folder `start` or fresh.

    With `lora` None all its weights are trained, from `start` if there is one.
    """
    source = str(start) if lora is None and start is not None else model
    base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    if lora is None:
        return base
    if start is not None:
        return PeftModel.from_pretrained(base, start, is_trainable=True)
    depth = base.config.num_hidden_layers
    last = lora["layers"]
    return get_peft_model(
        base,
        LoraConfig(
            r=lora["r"],
            lora_alpha=lora["alpha"],
            lora_dropout=lora["dropout"],
            target_modules=_linear_layers(base),
            layers_to_transform=None if last is None else list(range(max(0, depth - last), depth)),
            task_type="CAUSAL_LM",
        ),
    )


def _linear_layers(base: PreTrainedModel) -> list[str]:
    """Names of all linear layers but the output embedding. PEFT's "all-linear" cannot be limited to some layers."""
    head = base.get_output_embeddings()
    linear = [
        name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]
    return sorted({name.rpartition(".")[2] for name in linear})


class PlayingCopy:
    """A frozen twin of the policy: the Generator that plays."""

    def __init__(self, model: str, precision: str, weights: Path | None = None) -> None:
        dtype = torch.bfloat16 if decodes_in_bf16(precision) else torch.float32
        source = str(weights or model)  # a run keeps weights alone: the tokenizer is that of the base model
        self.name = f"{model} {weights}" if weights else model
        self.tokenizer = load_tokenizer(model)
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(source, dtype=dtype).to(device()).eval()
        self.model.requires_grad_(False)

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        return complete(self.model, self.tokenizer, conversations, sampling, template_arguments=TEMPLATE_ARGUMENTS)

    @torch.no_grad()
    def sync(self, trained: PreTrainedModel | PeftModel) -> None:
        """Takes over the weights of `trained`, adapters merged."""
        mine = dict(self.model.named_parameters())
        if not isinstance(trained, PeftModel):
            for name, weight in trained.named_parameters():
                with whole([weight]):
                    mine[name].copy_(weight)
            return
        for name, module in trained.get_base_model().named_modules():
            if isinstance(module, LoraLayer):
                [adapter] = module.active_adapters
                weight = module.get_base_layer().weight
                with whole(module.parameters()):  # layer by layer: the twin is the only whole copy
                    mine[f"{name}.weight"].copy_(weight + module.get_delta_weight(adapter).to(weight.dtype))


def finished_policy(model: str, weights: Path | None, precision: str, *, adapter: bool) -> PlayingCopy:
    """A policy ready to play: the base model alone, with the adapter of a folder merged in, or a folder of weights."""
    if weights is None or not adapter:
        return PlayingCopy(model, precision, weights)
    twin = PlayingCopy(model, precision)
    twin.name = f"{model} {weights}"
    twin.sync(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), weights))
    return twin
