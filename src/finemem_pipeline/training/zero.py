"""DeepSpeed's ZeRO under several processes: what it is told, whether it is at work, and whole weights out of it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from peft import PeftModel
from transformers import Trainer
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from finemem_pipeline.training.hardware import device


def start() -> None:
    """Before a trainer is made: DeepSpeed takes over the groups of processes that there are."""
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # Serves the inference of sharded models alone, and would be compiled first, which takes minutes and a compiler.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("accelerate.accelerator").setLevel(logging.ERROR)  # takes the value that it warns of
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    deepspeed.init_distributed(dist_backend="nccl" if device() == "cuda" else "gloo", verbose=False)


def config(stage: int, bf16: bool) -> dict[str, Any]:
    """DeepSpeed's constants. "auto" is what TRL's arguments say.

    Weights and gradients are float32, and what is multiplied bfloat16, as where one process trains alone.
    """
    return {
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": device() == "cuda",
            "contiguous_gradients": True,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "torch_autocast": {"enabled": bf16, "dtype": "bfloat16", "lower_precision_safe_modules": []},
        "gradient_accumulation_steps": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "gradient_clipping": "auto",
        "wall_clock_breakdown": False,
    }


def check(trainer: Trainer, stage: int) -> None:
    """Raises RuntimeError unless DeepSpeed shards what this trainer trains: nothing else tells.

    Before anything is played: models that are loaded from here on, those of a reader, are whole.
    """
    from deepspeed import DeepSpeedEngine

    engine = trainer.model_wrapped
    if not isinstance(engine, DeepSpeedEngine) or engine.zero_optimization_stage() != stage:
        raise RuntimeError(f"DeepSpeed with ZeRO stage {stage} was asked for, and {type(engine).__name__} is at work")
    unset_hf_deepspeed_config()


def whole(parameters: Iterable[torch.nn.Parameter]) -> AbstractContextManager[None]:
    """Within it these parameters are there, sharded ones too. All processes enter it together."""
    sharded = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not sharded:
        return contextlib.nullcontext()
    import deepspeed

    gathered: AbstractContextManager[None] = deepspeed.zero.GatheredParameters(sharded)
    return gathered


def whole_state(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """On the first process, what there is to save where weights are sharded; None where the model has it itself."""
    engine = getattr(trainer, "deepspeed", None)
    if engine is None or engine.zero_optimization_stage() < 3:
        return None
    only_trained = isinstance(trainer.model, PeftModel)
    state: dict[str, torch.Tensor] | None = engine._zero3_consolidated_16bit_state_dict(
        exclude_frozen_parameters=only_trained
    )
    return state
