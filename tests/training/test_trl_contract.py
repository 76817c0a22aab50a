"""What StepGRPOTrainer relies on in TRL: a release that changes one of these must fail here, not in a training run."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from finemem_pipeline.training.policy import load_tokenizer, load_trainable
from finemem_pipeline.training.samples import StepSample
from finemem_pipeline.training.step_grpo import Layout, StepGRPOTrainer, schedule_dataset

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*rollout_func"),
]

LAYOUT = Layout(episodes=2, steps=3, siblings=2)
FILLER = StepSample((2,), (2,), (), 0.0, ("", 0, 0), filler=True)


class TRLLoss(StepGRPOTrainer):
    """The same rows with TRL's own loss: nothing left out, nothing cut."""

    _compute_loss = GRPOTrainer._compute_loss
    _prepare_inputs = GRPOTrainer._prepare_inputs


def rows(advantages: Sequence[float | None]) -> list[StepSample]:
    """One row per advantage, of different lengths and with different first tokens; None makes a filler."""
    rng = random.Random(0)
    found = []
    for n, advantage in enumerate(advantages):
        prompt = tuple(rng.randrange(3, 700) for _ in range(rng.randint(4, 30)))
        said = (100 + n, *(rng.randrange(3, 700) for _ in range(rng.randint(2, 20))), 2)
        found.append(FILLER if advantage is None else StepSample(prompt, said, (), advantage, ("e", 0, n)))
    return found


Make = Callable[..., StepGRPOTrainer]


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path) -> Make:
    def build(
        play, *, cls=StepGRPOTrainer, steps=1, micro_batch=LAYOUT.rows, kl=0.0, order=(0, 1, 2, 3), dataset=None
    ) -> StepGRPOTrainer:
        torch.manual_seed(0)
        return cls(
            model=load_trainable(str(tiny_model), None, None),
            args=GRPOConfig(
                output_dir=str(tmp_path),
                per_device_train_batch_size=micro_batch,
                gradient_accumulation_steps=LAYOUT.rows // micro_batch,
                steps_per_generation=LAYOUT.rows // micro_batch,
                num_generations=LAYOUT.siblings,
                max_completion_length=32,
                learning_rate=1.0,
                lr_scheduler_type="constant",
                optim="sgd",  # its step is the gradient itself: Adam would hide a wrong scale
                max_grad_norm=0.0,
                max_steps=steps,
                beta=kl,
                loss_type="dapo",
                bf16=False,
                use_cpu=True,
                shuffle_dataset=False,
                save_strategy="no",
                logging_steps=1,
                report_to=[],
                disable_tqdm=True,
            ),
            processing_class=load_tokenizer(str(tiny_model)),
            train_dataset=dataset or schedule_dataset(order, LAYOUT),
            play_step=play,
            layout=LAYOUT,
        )

    return build


def weights(trainer: StepGRPOTrainer) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]).clone()


def learned(trainer: StepGRPOTrainer) -> torch.Tensor:
    """How the weights moved."""
    before = weights(trainer)
    trainer.train()
    return weights(trainer) - before


MIXED = rows([1.0, -1.0, 0.0, 0.0, 0.5, -0.5, 2.0, -2.0, None, None, None, None])


def test_rows_come_as_episodes_steps_siblings_and_each_update_plays_the_next_episodes(make: Make):
    played = []

    def play(update, episodes):
        played.append((update, list(episodes)))
        return MIXED

    make(play, steps=2, order=(7, 3, 5, 1)).train()
    assert played == [(1, [7, 3]), (2, [5, 1])]


def test_a_single_sibling_has_its_steps_repeat_one_row():
    alone = Layout(episodes=2, steps=3, siblings=1)
    assert (alone.rows, alone.repeats, alone.keys([7, 3])) == (6, 3, [[7, 0], [3, 0]])
    assert (LAYOUT.rows, LAYOUT.repeats) == (12, 2)
    assert LAYOUT.keys([7, 3]) == [[7, 0], [7, 1], [7, 2], [3, 0], [3, 1], [3, 2]]


def test_rows_in_another_order_stop_the_run(make: Make):
    mixed_up = schedule_dataset((0, 1), LAYOUT).select([0, 2, 1, 3, 4, 5])
    with pytest.raises(RuntimeError, match="another order than episodes × steps × siblings"):
        make(lambda update, episodes: MIXED, dataset=mixed_up).train()


def generated(trainer: StepGRPOTrainer) -> dict:
    trainer.model.train()
    return trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))


def test_the_batch_has_the_keys_and_shapes_that_the_loss_reads(make: Make):
    batch = generated(make(lambda update, episodes: MIXED))
    shapes = {name: tuple(value.shape) for name, value in batch.items() if torch.is_tensor(value)}
    prompt, said = max(len(row.prompt_ids) for row in MIXED), max(len(row.completion_ids) for row in MIXED)
    assert shapes == {
        "prompt_ids": (12, prompt),
        "prompt_mask": (12, prompt),
        "completion_ids": (12, said),
        "completion_mask": (12, said),
        "tool_mask": (12, said),
        "advantages": (12,),
        "num_items_in_batch": (),
    }
    assert batch["advantages"].tolist() == [row.advantage for row in MIXED]


def test_the_denominator_counts_the_tokens_of_every_row_but_the_fillers(make: Make):
    batch = generated(make(lambda update, episodes: MIXED))
    assert batch["num_items_in_batch"] == sum(len(row.completion_ids) for row in MIXED if not row.filler)


def test_prompts_are_padded_on_the_left_and_completions_on_the_right(make: Make):
    batch = generated(make(lambda update, episodes: MIXED))
    for n, row in enumerate(MIXED):
        width = len(row.prompt_ids)
        assert batch["prompt_ids"][n, -width:].tolist() == list(row.prompt_ids)
        assert batch["prompt_mask"][n].sum() == width
        assert batch["completion_ids"][n, : len(row.completion_ids)].tolist() == list(row.completion_ids)
        assert batch["completion_mask"][n].sum() == len(row.completion_ids)


def test_rows_come_to_the_loss_the_longest_first_each_with_its_advantage(make: Make):
    seen, passes = {}, []

    class Watching(StepGRPOTrainer):
        def _compute_loss(self, model, inputs):
            passes.append(inputs["prompt_mask"].sum(dim=1) + inputs["completion_mask"].sum(dim=1))
            seen.update(zip(inputs["completion_ids"][:, 0].tolist(), inputs["advantages"].tolist(), strict=True))
            return super()._compute_loss(model, inputs)

    ramp = rows([(n + 1) / 8 for n in range(12)])
    make(lambda update, episodes: ramp, cls=Watching, micro_batch=3).train()
    assert seen == {row.completion_ids[0]: row.advantage for row in ramp}
    lengths = torch.cat(passes).tolist()
    assert lengths == sorted((len(row.prompt_ids) + len(row.completion_ids) for row in ramp), reverse=True)
    assert len(passes) == 4
    assert len(passes[0]) == 3


@pytest.mark.parametrize("cls", [StepGRPOTrainer, TRLLoss])
def test_without_an_advantage_nothing_is_learned(make: Make, cls):
    assert not learned(make(lambda update, episodes: rows([0.0] * 12), cls=cls)).any()


@pytest.mark.parametrize("cls", [StepGRPOTrainer, TRLLoss])
def test_the_replaced_advantages_reach_the_loss(make: Make, cls):
    ramp = [(n - 5.5) / 4 for n in range(12)]
    forth = learned(make(lambda update, episodes: rows(ramp), cls=cls))
    back = learned(make(lambda update, episodes: rows([-a for a in ramp]), cls=cls))
    assert forth.norm() > 1e-3
    torch.testing.assert_close(forth, -back, rtol=1e-4, atol=1e-6)


@pytest.fixture
def by_trl(make: Make) -> torch.Tensor:
    """What TRL's own loss learns from the mixed rows in one batch."""
    return learned(make(lambda update, episodes: MIXED, cls=TRLLoss))


@pytest.mark.parametrize("micro_batch", [12, 4, 1])
def test_leaving_out_rows_and_padding_learns_what_trl_learns_from_the_full_batch(make: Make, by_trl, micro_batch):
    ours = learned(make(lambda update, episodes: MIXED, micro_batch=micro_batch))
    assert ours.norm() > 1e-3
    torch.testing.assert_close(ours, by_trl, rtol=1e-4, atol=1e-6)


def test_with_a_kl_term_rows_without_advantage_still_count(make: Make):
    # The first update starts at the reference, where the term is flat: only a second one tells.
    ours, stock, free = (
        learned(make(lambda update, episodes: MIXED, cls=cls, kl=kl, steps=2, micro_batch=6))
        for cls, kl in ((StepGRPOTrainer, 0.5), (TRLLoss, 0.5), (StepGRPOTrainer, 0.0))
    )
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-6)
    assert (ours - free).norm() > 1e-3


def test_only_live_rows_are_computed_and_padding_is_cut(make: Make, monkeypatch):
    computed = []

    def watch(self, model, inputs):
        computed.append({name: tuple(value.shape) for name, value in inputs.items() if torch.is_tensor(value)})
        return sum(weight.sum() for weight in model.parameters()) * 0.0

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", watch)
    live = [row for row in MIXED if row.advantage]
    make(lambda update, episodes: MIXED).train()
    [shapes] = computed
    assert shapes["prompt_ids"] == (len(live), max(len(row.prompt_ids) for row in live))
    assert shapes["completion_ids"] == shapes["tool_mask"] == (len(live), max(len(row.completion_ids) for row in live))
