"""A language model of random weights that fits into a few seconds: for tests and trials of everything around it."""

from __future__ import annotations

from pathlib import Path

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.manager.prompts import SYSTEM


def build(folder: Path, dropout: float = 0.0) -> None:
    """Puts a Llama of 64 dimensions there, and a tokenizer with a chat template that knows planted streams.

    The end token pads too, as in SmolLM2. `dropout` is that of the attention weights while it learns.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from finemem_pipeline.training import quieten

    quieten()
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
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            attention_dropout=dropout,
            eos_token_id=2,
            bos_token_id=1,
            pad_token_id=2,
        )
    )
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
