"""A language model of random weights that fits into a few seconds: for tests and trials of everything around it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.manager.prompts import SYSTEM

EVERY_TURN = (
    "{% for message in messages %}<s>{{ message.role }}\n{{ message.content }}<e>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
"""A chat template."""


def build(folder: Path, dropout: float = 0.0) -> None:
    """Puts a Llama of 64 dimensions there, and a tokenizer with a chat template that knows planted streams.

    `dropout` is that of the attention weights while it learns.
    """
    streams = generate(PlantedSpec(train=20), "train")
    texts = [SYSTEM, *(chunk.text for stream in streams for chunk in stream.chunks)]
    draw(folder, texts, hidden=64, vocabulary=800, dropout=dropout)


def draw(
    folder: Path,
    texts: Iterable[str],
    *,
    hidden: int,
    vocabulary: int,
    dropout: float = 0.0,
    chat_template: str = EVERY_TURN,
    single_digits: bool = False,
) -> None:
    """Puts a Llama of two layers of random weights there, and a tokenizer made for `texts`.

    The end token pads too, as in SmolLM2. With `single_digits` a number is as many tokens as it has digits.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from finemem_pipeline.training import quieten

    quieten()
    words = Tokenizer(models.BPE(unk_token="<u>"))
    apart = [pre_tokenizers.Digits(individual_digits=True)] if single_digits else []
    words.pre_tokenizer = pre_tokenizers.Sequence([*apart, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<u>", "<s>", "<e>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<u>", eos_token="<e>", pad_token="<e>")
    tokenizer.chat_template = chat_template
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=2 * hidden,
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
