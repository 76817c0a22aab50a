from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from finemem_pipeline.generation import GeneratorError, Sampling

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from finemem_pipeline.generation.local import LocalGenerator, batches  # noqa: E402

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }} {{ m.content }}<e>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"
)


def save_tiny_model(folder: Path) -> None:
    """A random Llama of 64 dimensions whose end token pads too, as in SmolLM2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.BPE(unk_token="<u>"))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<u>", "<s>", "<e>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    words.train_from_iterator(["the quick brown fox jumps over the lazy dog"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<u>", eos_token="<e>", pad_token="<e>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, eos_token_id=2, bos_token_id=1, pad_token_id=2,
        )
    )  # fmt: skip
    # Defaults that must not leak into what was asked for.
    model.generation_config.update(do_sample=True, top_k=1, repetition_penalty=5.0)
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def generator(folder: Path) -> LocalGenerator:
    return LocalGenerator(folder, dtype="float32", device="cpu")


def say(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


TEXTS = ["the fox", "a", "the quick brown fox jumps over the lazy dog " * 3, "dog", "the lazy dog jumps"]


def test_a_batch_replies_as_each_prompt_does_alone_in_the_order_asked(generator: LocalGenerator):
    together = generator.generate(say(*TEXTS), Sampling(max_tokens=12))
    alone = [generator.generate(say(text), Sampling(max_tokens=12))[0] for text in TEXTS]
    assert together == alone
    assert len({completion.completion_ids for completion in together}) > 1


def test_small_batches_reply_as_one_large_batch_does(folder: Path, generator: LocalGenerator):
    small = LocalGenerator(folder, dtype="float32", device="cpu", max_batch_tokens=40)
    assert small.generate(say(*TEXTS), Sampling(max_tokens=12)) == generator.generate(
        say(*TEXTS), Sampling(max_tokens=12)
    )


def test_prompt_ids_are_those_of_the_chat_template_without_padding(generator: LocalGenerator):
    for text, completion in zip(TEXTS, generator.generate(say(*TEXTS), Sampling(max_tokens=2)), strict=True):
        assert generator.tokenizer.decode(completion.prompt_ids) == f"<s>user {text}<e><s>"


def test_the_text_is_that_of_the_completion_ids(generator: LocalGenerator):
    for completion in generator.generate(say(*TEXTS), Sampling(max_tokens=6)):
        assert completion.text == generator.tokenizer.decode(completion.completion_ids, skip_special_tokens=True)
        assert len(completion.completion_ids) <= 6


def test_a_completion_ends_at_the_end_token_or_is_cut(generator: LocalGenerator):
    # At temperature 30 a random model ends one reply in ten after a few dozen tokens.
    completions = generator.generate(say(*(["the fox"] * 24)), Sampling(max_tokens=60, temperature=30.0, seed=1))
    assert {completion.finish for completion in completions} == {"stop", "length"}
    for completion in completions:
        ends = [place for place, token in enumerate(completion.completion_ids) if token == 2]
        if completion.finish == "stop":
            assert ends == [len(completion.completion_ids) - 1]
        else:
            assert (ends, len(completion.completion_ids)) == ([], 60)


def test_a_seed_repeats_a_sample_and_leaves_the_global_generator_alone(generator: LocalGenerator):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (
        generator.generate(say(*TEXTS), Sampling(max_tokens=8, temperature=1.0, seed=seed)) for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_seeded_model_that_reads_beside_a_policy_leaves_its_samples_alone(generator: LocalGenerator):
    def play() -> list[tuple[int, ...]]:
        said = [generator.generate(say(*TEXTS), Sampling(max_tokens=8, temperature=1.0)) for _ in range(6)]
        return [completion.completion_ids for one in said for completion in one]

    torch.manual_seed(5)
    alone = play()
    torch.manual_seed(5)
    with ThreadPoolExecutor(1) as pool:
        beside = Sampling(max_tokens=4, temperature=1.0, seed=1)
        reading = [pool.submit(generator.generate, say("the fox"), beside) for _ in range(12)]
        assert play() == alone
        assert len({each.result()[0].completion_ids for each in reading}) == 1


def test_what_is_drawn_by_a_seed_of_its_own_hangs_on_no_other_conversation(generator: LocalGenerator):
    spoken = Sampling(max_tokens=8, temperature=1.0)
    together = generator.generate(say("the fox", "the fox", "over"), replace(spoken, seeds=(7, 8, 9)))
    apart = [
        generator.generate(say(text), replace(spoken, seeds=(seed,))) for text, seed in (("over", 9), ("the fox", 8))
    ]
    assert [apart[1][0], apart[0][0]] == together[1:]
    assert together[0].completion_ids != together[1].completion_ids


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.3, 1.0), (1.0, 0.5)])
def test_tokens_are_drawn_by_their_probabilities(generator: LocalGenerator, temperature: float, top_p: float):
    count = 2000
    drawn = generator.generate(
        say(*["the fox"] * count),
        Sampling(max_tokens=1, temperature=temperature, top_p=top_p, seeds=tuple(range(count))),
    )
    scores = generator.model(torch.tensor([drawn[0].prompt_ids])).logits[0, -1].double() / temperature
    chances, order = scores.softmax(-1).sort(descending=True)
    chances = torch.where(chances.cumsum(-1) - chances < top_p, chances, 0.0)  # the likeliest that make up top_p
    expected = torch.zeros_like(scores).index_copy_(0, order, chances / chances.sum())
    seen = torch.bincount(torch.tensor([each.completion_ids[0] for each in drawn]), minlength=len(scores)) / count
    assert not ((seen > 0) & (expected == 0)).any()
    # As far from the truth as 2000 draws are: five standard deviations of the worst of 300 tokens.
    assert (seen - expected).abs().max() < 5 * (expected * (1 - expected) / count).sqrt().max()


def test_samples_differ_without_a_seed(generator: LocalGenerator):
    one, two = generator.generate(say("the fox", "the fox"), Sampling(max_tokens=12, temperature=1.0))
    assert one.completion_ids != two.completion_ids


def test_greedy_decoding_takes_the_likeliest_token_whatever_the_model_penalises(generator: LocalGenerator):
    (completion,) = generator.generate(say("the fox"), Sampling(max_tokens=30))
    ids = torch.tensor([[*completion.prompt_ids, *completion.completion_ids]])
    likeliest = generator.model(ids).logits[0].argmax(-1)[len(completion.prompt_ids) - 1 : -1]
    assert completion.completion_ids == tuple(likeliest.tolist())


def test_no_conversations_no_completions(generator: LocalGenerator):
    assert generator.generate([], Sampling()) == []


def test_a_prompt_too_long_for_the_context_says_by_how_much(generator: LocalGenerator):
    with pytest.raises(GeneratorError, match="and 250 new ones do not fit into the model's context of 256"):
        generator.generate(say("the quick brown fox"), Sampling(max_tokens=250))


def test_a_folder_that_is_not_there_says_what_to_give():
    with pytest.raises(GeneratorError, match=r"no model could be loaded from '/nowhere/at/all'.*config.json"):
        LocalGenerator("/nowhere/at/all")


def test_a_folder_without_a_chat_template_is_refused(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    with pytest.raises(GeneratorError, match="has no chat template: choose an instruct model"):
        LocalGenerator(tmp_path / "base", device="cpu").generate(say("a"), Sampling())


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    path = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(path)
    return path


def test_an_adapter_changes_the_replies_and_the_name(folder: Path, adapter: Path, generator: LocalGenerator):
    adapted = LocalGenerator(folder, adapter, dtype="float32", device="cpu")
    assert adapted.generate(say(*TEXTS), Sampling(max_tokens=12)) != generator.generate(
        say(*TEXTS), Sampling(max_tokens=12)
    )
    assert str(adapter) in adapted.name
    assert adapted.name != generator.name


def test_an_adapter_that_is_not_there_is_an_error(folder: Path, tmp_path: Path):
    with pytest.raises(GeneratorError, match=r"no adapter at .*adapter_config.json"):
        LocalGenerator(folder, tmp_path, device="cpu")


def test_weights_that_were_trained_on_have_another_name(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "copy")
    before = LocalGenerator(tmp_path / "copy", device="cpu").name
    assert LocalGenerator(tmp_path / "copy", device="cpu").name == before
    os.utime(tmp_path / "copy" / "model.safetensors", ns=(1, 1))
    assert LocalGenerator(tmp_path / "copy", device="cpu").name != before


def test_batches_hold_like_lengths_within_the_budget():
    assert batches([10, 90, 20, 100], max_tokens=10, max_batch_tokens=220) == [[3, 1], [2, 0]]


def test_a_prompt_above_the_budget_goes_alone():
    assert batches([500, 10, 10], max_tokens=10, max_batch_tokens=100) == [[0], [1, 2]]
