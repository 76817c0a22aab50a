from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from finemem_pipeline.generation import Sampling
from finemem_pipeline.training.policy import PlayingCopy, finished_policy, load_tokenizer, load_trainable

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "layers": None}
IDS = torch.tensor([[5, 77, 301, 9, 12, 640]])


def shaken(model):
    """The model with its trainable weights moved: a fresh adapter adds nothing."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    return model.eval()


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.fixture
def adapted(tiny_model):
    return shaken(load_trainable(str(tiny_model), None, LORA))


@pytest.fixture
def twin(tiny_model):
    return PlayingCopy(str(tiny_model), "fp32")


def test_the_copy_plays_like_the_adapted_policy_once_it_is_in_step(adapted, twin):
    assert (logits(twin.model) - logits(adapted)).abs().max() > 0.01
    twin.sync(adapted)
    torch.testing.assert_close(logits(twin.model), logits(adapted), rtol=1e-4, atol=1e-4)


def test_it_follows_every_change_and_never_adds_an_adapter_twice(adapted, twin):
    for _ in range(3):
        twin.sync(adapted)
    torch.testing.assert_close(logits(twin.model), logits(adapted), rtol=1e-4, atol=1e-4)
    shaken(adapted)
    twin.sync(adapted)
    torch.testing.assert_close(logits(twin.model), logits(adapted), rtol=1e-4, atol=1e-4)


def test_it_leaves_the_trained_model_alone(adapted, twin):
    before = logits(adapted)
    twin.sync(adapted)
    assert torch.equal(logits(adapted), before)
    assert not any(weight.requires_grad for weight in twin.model.parameters())


def test_it_follows_a_policy_trained_in_all_its_weights(tiny_model, twin):
    trained = shaken(load_trainable(str(tiny_model), None, None))
    twin.sync(trained)
    assert torch.equal(logits(twin.model), logits(trained))


def test_only_the_adapter_is_trained_where_there_is_one(adapted, tiny_model):
    names = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert all(weight.requires_grad for weight in load_trainable(str(tiny_model), None, None).parameters())


def test_an_adapter_can_be_kept_to_the_last_layers(tiny_model, twin):
    last = shaken(load_trainable(str(tiny_model), None, {**LORA, "layers": 1}))
    names = [name for name, weight in last.named_parameters() if weight.requires_grad]
    assert names
    assert all(".layers.1." in name for name in names)
    twin.sync(last)
    torch.testing.assert_close(logits(twin.model), logits(last), rtol=1e-4, atol=1e-4)


def test_training_goes_on_from_a_saved_adapter(adapted, tiny_model, tmp_path):
    adapted.save_pretrained(tmp_path)
    again = load_trainable(str(tiny_model), tmp_path, LORA).eval()
    assert isinstance(again, PeftModel)
    assert any(weight.requires_grad for weight in again.parameters())
    torch.testing.assert_close(logits(again), logits(adapted))


def test_training_goes_on_from_a_folder_of_weights(tiny_model, tmp_path):
    trained = shaken(load_trainable(str(tiny_model), None, None))
    trained.save_pretrained(tmp_path)
    assert torch.equal(logits(load_trainable(str(tiny_model), tmp_path, None)), logits(trained))


def test_a_finished_policy_is_the_base_model_an_adapter_on_it_or_a_folder_of_weights(adapted, tiny_model, tmp_path):
    adapted.save_pretrained(tmp_path / "adapter")
    trained = shaken(load_trainable(str(tiny_model), None, None))
    trained.save_pretrained(tmp_path / "weights")
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    policies = {
        "base": finished_policy(str(tiny_model), None, "fp32", adapter=True),
        "adapter": finished_policy(str(tiny_model), tmp_path / "adapter", "fp32", adapter=True),
        "weights": finished_policy(str(tiny_model), tmp_path / "weights", "fp32", adapter=False),
    }
    for name, expected in {"base": base, "adapter": adapted, "weights": trained}.items():
        torch.testing.assert_close(logits(policies[name].model), logits(expected), rtol=1e-4, atol=1e-4)
    assert len({policy.name for policy in policies.values()}) == 3


def test_it_replies_to_conversations_with_the_ids_of_its_tokens(twin):
    conversation = [{"role": "system", "content": "Keep."}, {"role": "user", "content": "Ann has a key."}]
    [reply] = twin.generate([conversation], Sampling(max_tokens=5))
    assert twin.tokenizer.decode(reply.prompt_ids) == "<s>system\nKeep.<e><s>user\nAnn has a key.<e><s>assistant\n"
    assert 1 <= len(reply.completion_ids) <= 5


def test_a_tokenizer_pads_on_the_left_and_always_has_a_pad_token(tiny_model, tmp_path):
    tokenizer = load_tokenizer(str(tiny_model))
    assert tokenizer.padding_side == "left"
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_tokenizer(str(tmp_path)).pad_token == tokenizer.eos_token
