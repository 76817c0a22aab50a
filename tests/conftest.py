"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A machine that is busy with other things is no reason to fail.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def realbench() -> Path:
    """The folder of real streams, or the one FINEMEM_REALBENCH names; without it the test is skipped."""
    folder = Path(os.environ.get("FINEMEM_REALBENCH", PROJECT.parent / "shared" / "realbench"))
    if not (folder / "train.jsonl.gz").is_file():
        pytest.skip(f"no real streams at {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama of 64 dimensions, and a tokenizer with a chat template that knows planted streams.

    The end token pads too, as in SmolLM2.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
    from finemem_pipeline.manager.prompts import SYSTEM

    words = Tokenizer(models.BPE(unk_token="<u>"))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<u>", "<s>", "<e>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    streams = generate(PlantedSpec(train=20), "train")
    words.train_from_iterator([SYSTEM, *(chunk.text for stream in streams for chunk in stream.chunks)], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<u>", eos_token="<e>", pad_token="<e>")
    tokenizer.chat_template = (
        "{% for message in messages %}<s>{{ message.role }}\n{{ message.content }}<e>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=True,
            eos_token_id=2, bos_token_id=1, pad_token_id=2,
        )
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder
