from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, replace

import pytest
from transformers import set_seed

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.manager.policy import Prompter
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.memory import parse_operations
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.stopping import Stopped, orderly
from finemem_pipeline.training import replay_batch
from finemem_pipeline.training.not_finite import Failed, NotFiniteError, keep_demonstrations
from finemem_pipeline.training.policy import finished_policy, load_tokenizer, load_trainable
from finemem_pipeline.training.runs import Run
from finemem_pipeline.training.samples import Demonstration
from finemem_pipeline.training.warm_start import WarmStart, best_step, demonstrations, has_converged, imitate

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SETTINGS = WarmStart(
    steps=2,
    batch=4,
    micro_batch=4,
    imitation_steps=6,
    patience=2,
    check_every=2,
    learning_rate=0.01,
    bf16=False,
    gradient_checkpointing=False,
    seed=0,
    checkpoint_every=2,
    keep_checkpoints=2,
)
LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "layers": None}
PROMPTER = Prompter(BM25(), lambda text: len(text.split()), 100)


def shown(split: str, most: int):
    return demonstrations(list(generate(PlantedSpec(train=8, dev=2), split)), Teacher(), PROMPTER, most)


def test_a_demonstration_is_what_the_policy_would_see_and_what_the_teacher_does_then():
    episode = next(generate(PlantedSpec(), "train"))
    first, second, *_ = demonstrations([episode], Teacher(), PROMPTER, 9)
    assert [message["role"] for message in first["prompt"]] == ["system", "user"]
    assert episode.chunks[0].text in first["prompt"][1]["content"]
    assert first["prompt"][1]["content"].endswith("(empty)")
    [reply] = first["completion"]
    assert reply["role"] == "assistant"
    written = [operation.text for operation in parse_operations(reply["content"]).operations]
    memory = second["prompt"][1]["content"].partition("Memory:\n")[2]
    assert memory == "\n".join(f"m{n + 1}: {text}" for n, text in enumerate(written))


def test_demonstrations_stop_at_the_number_asked_for():
    assert len(shown("train", 7)) == 7
    assert len(shown("train", 1000)) == 8 * 3


@pytest.mark.parametrize("lora", [LORA, None], ids=["adapter", "all weights"])
def test_one_run_gives_the_warm_start_and_the_imitation_and_the_loss_falls(tiny_model, tmp_path, lora):
    run, steps = Run.open(tmp_path, "warm_start", {}), []
    warm, imitation = imitate(
        load_trainable(str(tiny_model), None, lora),
        load_tokenizer(str(tiny_model)),
        shown("train", 24),
        shown("dev", 4),
        replace(SETTINGS, learning_rate=0.01 if lora else 0.002),
        run,
        lambda step, most: steps.append((step, most)),
    )
    assert (warm, imitation) == (run.result("warm"), run.result("imitation"))
    assert steps == [(step, 6) for step in range(1, 7)]
    weights = "adapter_model.safetensors" if lora else "model.safetensors"
    assert (warm / weights).read_bytes() != (imitation / weights).read_bytes()
    losses = {
        name: eval_loss(tiny_model, folder, lora)
        for name, folder in {"untrained": None, "warm": warm, "imitation": imitation}.items()
    }
    assert losses["imitation"] < losses["warm"] < losses["untrained"]


def eval_loss(tiny_model, folder, lora) -> float:
    """Mean loss of the demonstrated replies, given their prompts."""
    import torch

    policy = finished_policy(str(tiny_model), folder, "fp32", adapter=lora is not None)
    losses = []
    for row in shown("dev", 4):
        prompt = policy.tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        start = policy.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        said = policy.tokenizer(row["completion"][0]["content"], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([start + said])
        labels = torch.tensor([[-100] * len(start) + said])
        with torch.no_grad():
            losses.append(policy.model(ids, labels=labels).loss.item())
    return sum(losses) / len(losses)


def test_without_imitation_only_the_warm_start_is_made(tiny_model, tmp_path):
    run = Run.open(tmp_path, "warm_start", {})
    warm, imitation = imitate(
        load_trainable(str(tiny_model), None, LORA),
        load_tokenizer(str(tiny_model)),
        shown("train", 4),
        [],
        replace(SETTINGS, steps=1, imitation_steps=0),
        run,
        lambda step, most: None,
    )
    assert (warm / "adapter_config.json").is_file()
    assert imitation is None


def test_no_steps_at_all_hand_over_the_base_model_as_it_came(tiny_model, tmp_path):
    run = Run.open(tmp_path, "warm_start", {})
    warm, _ = imitate(
        load_trainable(str(tiny_model), None, None),
        load_tokenizer(str(tiny_model)),
        shown("train", 4),
        [],
        replace(SETTINGS, steps=0, imitation_steps=0),
        run,
        lambda step, most: None,
    )
    assert eval_loss(tiny_model, warm, None) == eval_loss(tiny_model, None, None)


class Killed(BaseException):
    """What no code catches."""


def tensors(folder) -> dict[str, bytes]:
    from safetensors.torch import load_file

    [file] = folder.glob("*.safetensors")
    return {name: value.numpy().tobytes() for name, value in load_file(file).items()}


def imitated(model, folder, kill_at: int | None = None, terminate_at: int | None = None, **changes):
    """(warm, imitation, the updates that were made); killed or terminated at the end of an update if one is given."""
    made = []

    def on_step(step: int, most: int) -> None:
        made.append(step)
        if step == kill_at:
            raise Killed
        if step == terminate_at:
            os.kill(os.getpid(), signal.SIGTERM)

    settings = replace(SETTINGS, imitation_steps=8, check_every=3, **changes)
    lora = {**LORA, "dropout": 0.1}
    arguments = shown("train", 8), shown("dev", 4), settings, Run.open(folder, "warm_start", {}), on_step
    set_seed(0)  # as the job does: a fresh adapter is drawn at random
    warm, imitation = imitate(load_trainable(str(model), None, lora), load_tokenizer(str(model)), *arguments)
    return tensors(warm), tensors(imitation), made


def test_a_warm_start_that_was_killed_goes_on_as_if_it_had_not_been(tiny_model, tmp_path):
    warm, imitation, made = imitated(tiny_model, tmp_path / "alone", steps=4)
    assert made == list(range(1, 9))  # four passes over the demonstrations, each in an order of its own
    for kill_at in (1, 4, 6):  # the last is an update with neither a check nor a checkpoint
        with pytest.raises(Killed):
            imitated(tiny_model, tmp_path / "killed", steps=4, kill_at=kill_at)
    found = imitated(tiny_model, tmp_path / "killed", steps=4)
    assert found == (warm, imitation, [5, 6, 7, 8])


def test_a_warm_start_that_was_killed_after_its_last_update_makes_none(tiny_model, tmp_path, monkeypatch):
    warm, imitation, _ = imitated(tiny_model, tmp_path / "alone")
    keep = Run.keep

    def killed(run, name, save):
        if name == "imitation":
            raise Killed
        return keep(run, name, save)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "keep", killed)
        with pytest.raises(Killed):
            imitated(tiny_model, tmp_path / "killed")
    assert imitated(tiny_model, tmp_path / "killed") == (warm, imitation, [])


def test_a_terminated_warm_start_keeps_what_it_has_learned(tiny_model, tmp_path):
    warm, imitation, _ = imitated(tiny_model, tmp_path / "alone", checkpoint_every=100)
    run = Run.open(tmp_path / "stopped", "warm_start", {})
    with pytest.raises(Stopped), orderly():
        imitated(tiny_model, tmp_path / "stopped", checkpoint_every=100, terminate_at=5)
    assert [path.name for path in run.checkpoints()] == ["checkpoint-3", "checkpoint-5"]
    assert imitated(tiny_model, tmp_path / "stopped", checkpoint_every=100) == (warm, imitation, [6, 7, 8])


def test_a_loss_that_is_no_number_stops_the_warm_start_and_leaves_its_batch(tiny_model, tmp_path, capsys):
    config = {"recipe": {"model": str(tiny_model), "lora": LORA}, "warm_start": {"steps": 3}}
    run, tokenizer = Run.open(tmp_path, "warm_start", config), load_tokenizer(str(tiny_model))
    model, rows = load_trainable(str(tiny_model), None, LORA), shown("train", 12)

    def spoil(step: int, most: int) -> None:
        if step == 2:  # one that only the next update meets
            adapted = next(weight for name, weight in model.named_parameters() if "lora_B" in name)
            adapted.data[0] = float("nan")

    with pytest.raises(NotFiniteError, match=r"update 3 was not made: its loss is nan.*warm_start_learning_rate"):
        imitate(model, tokenizer, rows, [], replace(SETTINGS, steps=3, imitation_steps=0, micro_batch=2), run, spoil)
    folder = run.folder / "not_finite" / "step-00003"
    kept = [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()]
    assert len(kept) == 4
    for row in kept:
        assert "Memory:" in row["prompt"]
        assert [one.text for one in parse_operations(row["completion"].removesuffix("<e>")).operations]
    assert {row["completion"].removesuffix("<e>").strip() for row in kept} <= {
        row["completion"][0]["content"] for row in rows
    }

    assert replay_batch.main([str(folder)]) == 0
    first, *told, last = capsys.readouterr().out.splitlines()
    assert first.startswith("update 3: loss nan")
    assert [line.split(",")[0] for line in told] == ["!! row 1", "!! row 2", "!! row 3", "!! row 4"]
    assert last == "4 of 4 rows are not finite"


def test_the_rows_of_a_replayed_warm_start_add_up_to_the_loss_of_the_update(tiny_model, tmp_path):
    config = {"recipe": {"model": str(tiny_model), "lora": LORA}, "warm_start": {"steps": 1}}
    run, tokenizer = Run.open(tmp_path, "warm_start", config), load_tokenizer(str(tiny_model))
    model, rows = load_trainable(str(tiny_model), None, LORA), shown("train", 4)
    model.save_pretrained(tmp_path / "before")
    alone = [
        Demonstration(tuple(both[: len(asked)]), tuple(both[len(asked) :]))
        for both, asked in (tokenised(tokenizer, row) for row in rows)
    ]
    imitate(model, tokenizer, rows, [], replace(SETTINGS, steps=1, imitation_steps=0), run, lambda step, most: None)
    state = json.loads((run.newest_checkpoint() / "trainer_state.json").read_text("utf-8"))
    [loss] = [logged["loss"] for logged in state["log_history"] if "loss" in logged]

    failed, settings = Failed(1, float("nan"), float("nan")), asdict(SETTINGS)
    keep_demonstrations(run, failed, settings, alone, tokenizer, lambda folder: None)
    before = load_trainable(str(tiny_model), tmp_path / "before", LORA)
    replayed = replay_batch.replay_demonstrations(run.folder / "not_finite" / "step-00001", before)
    assert sum(one.loss for one in replayed) == pytest.approx(loss, rel=1e-4)
    assert all(one.finite for one in replayed)


def tokenised(tokenizer, row) -> tuple[list[int], list[int]]:
    """Ids of prompt and reply together, and of the prompt."""
    whole = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=False)
    asked = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"] for text in (whole, asked))


CHECKS = [{"step": 2, "eval_loss": 3.0}, {"step": 3, "loss": 1.0}, {"step": 4, "eval_loss": 2.0}]


@pytest.mark.parametrize(
    ("history", "best", "converged"),
    [
        ([], 0, False),
        (CHECKS, 4, False),
        ([*CHECKS, {"step": 6, "eval_loss": 2.0}], 4, False),  # no better: the first of equals stays the best
        ([*CHECKS, {"step": 6, "eval_loss": 2.5}, {"step": 8, "eval_loss": 2.0}], 4, True),
        ([*CHECKS, {"step": 6, "eval_loss": 2.5}, {"step": 8, "eval_loss": 1.0}], 8, False),
    ],
)
def test_it_has_converged_when_checks_bring_nothing_better(history, best, converged):
    assert (best_step(history), has_converged(history, 2)) == (best, converged)
