from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch

from finemem_pipeline import progress
from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.clock import Clock
from finemem_pipeline.credit import MovingBaseline
from finemem_pipeline.errors import FinememError
from finemem_pipeline.generation import Sampling
from finemem_pipeline.manager.policy import PolicyManager, Prompter
from finemem_pipeline.reasoning.cache import AnswerCache
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.probes import Sample
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.records import decode_rollout
from finemem_pipeline.reporting.alarms import ALARMS
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.rewards import NEEDS, REWARDS, score_group, variant
from finemem_pipeline.rollouts import RolloutGroup
from finemem_pipeline.training.policy import PlayingCopy, load_tokenizer, load_trainable
from finemem_pipeline.training.runs import Run
from finemem_pipeline.training.schedule import episode_order
from finemem_pipeline.training.train import BASELINE, Practice, Settings, train

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*rollout_func"),
]

SETTINGS = Settings(
    steps=3,
    group_size=3,
    episodes_per_step=2,
    seed=0,
    question_share=0.2,
    question_floor=2,
    retention=Sample(2),
    epsilon=0.2,
    kl=0.0,
    learning_rate=1e-3,
    warmup_steps=0,
    max_grad_norm=1.0,
    micro_batch=4,
    max_completion_tokens=48,
    temperature=1.0,
    gradient_checkpointing=False,
    bf16=False,
    checkpoint_every=1,
    keep_checkpoints=2,
)
FINE_MEM = variant(
    "fine_mem",
    {
        "outcome": {"weight": 1.0, "spread": {"scheme": "retrieved", "beta": 0.5}},
        "chunk": {"weight": 0.5},
        "format": {"weight": 1.0},
        "compression": {"weight": 0.05},
    },
)
STREAMS = list(generate(PlantedSpec(train=5, chunks=(1, 3), facts_per_chunk=2), "train"))
LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "layers": None}


class Apprentice:
    """A small policy, its run, and everything that training needs around it."""

    def __init__(self, model, folder, generator=None, paid_by=FINE_MEM, **settings) -> None:
        self.settings = replace(SETTINGS, **settings)
        self.tokenizer = load_tokenizer(str(model))
        torch.manual_seed(0)
        self.model = load_trainable(str(model), None, LORA)
        self.twin = PlayingCopy(str(model), "fp32")
        self.run = Run.open(folder, paid_by.name, {})
        self.phases: list[tuple[int, str]] = []
        count = lambda text: len(self.tokenizer.encode(text, add_special_tokens=False))  # noqa: E731
        sampling = Sampling(self.settings.max_completion_tokens, self.settings.temperature)
        self.practice = Practice(
            STREAMS,
            PolicyManager(generator or self.twin, Prompter(BM25(), count, 200), sampling),
            Reader(BM25(), ExtractiveReasoner(), cache=AnswerCache()),
            count,
            paid_by,
            self.settings,
            Clock(),
            filler_id=self.tokenizer.eos_token_id,
            rollouts_folder=self.run.rollouts_folder,
            on_phase=lambda update, now: self.phases.append((update, now)),
        )

    def train(self):
        return train(self.model, self.tokenizer, self.practice, self.settings, self.run, self.twin.sync)

    def weights(self) -> torch.Tensor:
        return torch.cat([weight.detach().flatten() for weight in self.model.parameters() if weight.requires_grad])

    def rollouts(self):
        """(update, advantages, rollout) of every rollout on disk."""
        files = sorted(self.run.rollouts_folder.glob("step-*.jsonl"))
        rows = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
        return [(row["update"], row["advantages"], decode_rollout(row["rollout"])) for row in rows]


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory, dice):
    """Three updates with replies drawn by dice, and what the progress was told."""
    apprentice = Apprentice(tiny_model, tmp_path_factory.mktemp("trained"), dice())
    told = []
    leave = progress.subscribe(lambda step, metrics: told.append((step, dict(metrics))))
    before = apprentice.weights()
    apprentice.result = apprentice.train()
    leave()
    apprentice.moved = apprentice.weights() - before
    apprentice.told = told
    return apprentice


PROMISED = {
    *(f"{kind}/{name}" for kind in ("reward", "share") for name in set(REWARDS) - set(NEEDS)),
    *("reward/total", "outcome", "chunk_accuracy"),
    *("groups/columns", "groups/dead_columns", "groups/excluded", "groups/dropped"),
    *(f"operations/{kind}" for kind in ("insert", "update", "delete", "skip")),
    *("operations/refused_share", "operations/malformed_share"),
    *("memory/tokens", "memory/share_of_text", "memory/copied_share", "completion/length", "completion/cut_share"),
    *("reader/questions", "reader/calls", "reader/cache_hits", "reader/unscored"),
    *("loss", "entropy", "grad_norm", "learning_rate", "clip_ratio", "kl", "kl_update"),
    *("tokens_per_second", "tokens_per_second_generated", "tokens_per_second_learned"),
    *(f"seconds/{phase}" for phase in ("generate", "apply", "read", "score", "write", "measure", "backward", "step")),
    *(f"alarm/{name}" for name in ALARMS),
}


def test_every_update_logs_every_measure_promised(trained):
    rows = trained.run.metrics()
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert PROMISED - row.keys() == set()
        assert {name for name in PROMISED if row[name] is None} == set()
        assert row["entropy"] > 0
        assert row["grad_norm"] > 0
        assert row["reader/questions"] == row["reader/cache_hits"] + row["reader/calls"] > 0


def test_progress_is_told_what_is_written(trained):
    assert trained.told == [
        (row["step"], {name: value for name, value in row.items() if name != "step"}) for row in trained.run.metrics()
    ]


def test_bars_are_told_what_is_happening(trained):
    assert (1, "playing chunk 1 of 3") in trained.phases or (1, "playing chunk 1 of 2") in trained.phases
    assert [update for update, now in trained.phases if now == "learning"] == [1, 2, 3]


def test_the_streams_come_in_the_order_of_the_schedule_whatever_their_length(trained):
    played = [rollout.episode_id for _, _, rollout in trained.rollouts()]
    expected = [STREAMS[place].id for place in episode_order(len(STREAMS), 6, seed=0)]
    assert played == [name for name in expected for _ in range(3)]
    lengths = {len(rollout.steps) for _, _, rollout in trained.rollouts()}
    assert len(lengths) > 1
    assert all(len(advantages) == len(rollout.steps) for _, advantages, rollout in trained.rollouts())


def test_rollouts_on_disk_give_the_advantages_that_were_trained_on(trained):
    rows = trained.rollouts()
    signal = 0.0
    for first in range(0, len(rows), 3):
        siblings = rows[first : first + 3]
        group = RolloutGroup(siblings[0][2].episode_id, tuple(rollout for _, _, rollout in siblings))
        assert [rollout.sibling for rollout in group.rollouts] == [0, 1, 2]
        scored = score_group(group, FINE_MEM)
        assert scored.advantages.tolist() == [advantages for _, advantages, _ in siblings]
        signal += abs(scored.advantages).sum()
    assert signal > 0


def test_the_policy_moves_and_its_weights_are_kept(trained, tiny_model):
    assert trained.moved.abs().max() > 0
    kept = load_trainable(str(tiny_model), trained.result, LORA)
    mine = torch.cat([weight.detach().flatten() for weight in kept.parameters() if weight.requires_grad])
    torch.testing.assert_close(mine, trained.weights())


def test_an_interrupted_run_goes_on_from_its_newest_complete_checkpoint(trained, tiny_model, tmp_path, dice):
    class Interrupted(Exception):
        pass

    first = Apprentice(tiny_model, tmp_path, dice())
    played = first.practice.play_step

    def breaks_at_the_third(update, episodes):
        if update == 3:
            raise Interrupted
        return played(update, episodes)

    first.practice.play_step = breaks_at_the_third
    with pytest.raises(Interrupted):
        first.train()
    half = first.run.writing_folder / "checkpoint-3"  # as a kill in the middle of a save would leave it
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
    first.run.append_metrics({"step": 3, "loss": 9.0})

    generator = dice()
    generator.calls = sum(1 for update, now in trained.phases if update < 3 and now.startswith("playing"))
    second = Apprentice(tiny_model, tmp_path, generator)
    told = []
    leave = progress.subscribe(lambda step, metrics: told.append(step))
    second.train()
    leave()
    assert second.run.newest_checkpoint().name == "checkpoint-3"
    assert {update for update, _ in second.phases} == {3}
    assert told == [1, 2, 3]  # whoever listens hears of the earlier updates too
    assert [row["step"] for row in second.run.metrics()] == [1, 2, 3]
    assert second.rollouts() == trained.rollouts()
    assert torch.equal(second.weights(), trained.weights())


def test_a_longer_run_goes_on_where_a_shorter_one_ended(tiny_model, tmp_path, dice):
    Apprentice(tiny_model, tmp_path, dice(), steps=1).train()
    longer = Apprentice(tiny_model, tmp_path, dice(1), steps=2)
    longer.train()
    assert [row["step"] for row in longer.run.metrics()] == [1, 2]
    assert {update for update, _ in longer.phases} == {2}
    assert (longer.run.folder / "policy-00001").is_dir()
    assert (longer.run.folder / "policy-00002").is_dir()
    with pytest.raises(FinememError, match=r"already been trained to step 2, 1 are asked for"):
        Apprentice(tiny_model, tmp_path, dice(), steps=1).train()


def test_the_newest_checkpoints_stay_and_nothing_half_written(trained):
    stays = sorted(path.name for path in trained.run.checkpoints_folder.iterdir())
    assert stays == ["checkpoint-2", "checkpoint-3"]


def test_a_policy_plays_itself_with_a_kl_term_to_where_it_came_from(tiny_model, tmp_path):
    apprentice = Apprentice(tiny_model, tmp_path, kl=0.1, steps=1, group_size=2, max_completion_tokens=6)
    apprentice.train()
    [row] = apprentice.run.metrics()
    assert row["kl"] == pytest.approx(0.0, abs=1e-6)  # its first update starts there
    assert row["completion/length"] <= 6


def test_an_update_without_a_signal_leaves_the_policy_alone(tiny_model, tmp_path):
    from finemem_pipeline.generation.scripted import ScriptedGenerator
    from finemem_pipeline.rollouts import Completion

    silent = ScriptedGenerator(lambda conversation: Completion("[]", (5, 6), (7, 2)))
    apprentice = Apprentice(tiny_model, tmp_path, silent, steps=1)
    before = apprentice.weights()
    apprentice.train()
    [row] = apprentice.run.metrics()
    assert row["groups/dead_columns"] == row["groups/columns"]
    assert (row["loss"], row["grad_norm"]) == (0.0, 0.0)
    assert torch.equal(apprentice.weights(), before)


ALONE = variant(
    "alone",
    {
        "advantage": "moving_average",
        "outcome": {"weight": 1.0, "spread": {"scheme": "lineage", "beta": 0.5, "scale": "T"}},
        "chunk": {"weight": 0.5},
        "format": {"weight": 1.0},
    },
)


@pytest.fixture(scope="module")
def alone(tiny_model, tmp_path_factory, dice):
    """Three updates of a single sibling, compared with the updates before."""
    apprentice = Apprentice(tiny_model, tmp_path_factory.mktemp("alone"), dice(), ALONE, group_size=1)
    before = apprentice.weights()
    apprentice.train()
    apprentice.moved = apprentice.weights() - before
    return apprentice


def test_a_single_sibling_learns_from_what_its_positions_earned_before(alone):
    rows = alone.rollouts()
    assert [rollout.sibling for _, _, rollout in rows] == [0] * 6
    assert [rollout.episode_id for _, _, rollout in rows] == [
        STREAMS[place].id for place in episode_order(len(STREAMS), 6, seed=0)
    ]
    baseline = MovingBaseline()
    for _, advantages, rollout in rows:
        scored = score_group(RolloutGroup(rollout.episode_id, (rollout,)), ALONE, baseline)
        assert scored.advantages.tolist() == [advantages]
    assert baseline == alone.practice.baseline
    assert any(value for _, advantages, _ in rows for value in advantages)
    assert alone.moved.abs().max() > 0


def test_a_single_sibling_goes_on_with_the_baseline_of_its_checkpoint(alone, tiny_model, tmp_path, dice):
    first = Apprentice(tiny_model, tmp_path, dice(), ALONE, group_size=1, steps=2)
    first.train()
    kept = json.loads((first.run.newest_checkpoint() / BASELINE).read_text("utf-8"))
    assert kept == asdict(first.practice.baseline)
    assert kept != asdict(MovingBaseline())

    generator = dice()
    generator.calls = sum(now.startswith("playing") for _, now in first.phases)
    second = Apprentice(tiny_model, tmp_path, generator, ALONE, group_size=1)
    second.train()
    assert {update for update, _ in second.phases} == {3}
    assert second.rollouts() == alone.rollouts()
    assert second.practice.baseline == alone.practice.baseline
    assert torch.equal(second.weights(), alone.weights())


def test_a_single_sibling_on_streams_of_one_chunk_is_refused(tiny_model, tmp_path, dice):
    apprentice = Apprentice(tiny_model, tmp_path, dice(), ALONE, group_size=1)
    apprentice.practice.longest = 1
    with pytest.raises(FinememError, match=r"training\.group_size: found 1 with streams of a single chunk"):
        apprentice.train()


@pytest.mark.parametrize("scheme", ["leave_one_out", "shapley", "tombstone"])
def test_variants_that_read_probes_train_and_can_be_scored_again_from_disk(tiny_model, tmp_path, dice, scheme: str):
    probing = variant(
        "probing",
        {
            "advantage": "per_term",
            "outcome": {"weight": 1.0, "spread": {"scheme": scheme, "beta": 1.0}},
            "delta_chunk": {"weight": 0.5},
            "retention": {"weight": 0.5},
            "qa_gain": {"weight": 0.5},
            "step_compression": {"weight": 0.05},
        },
    )
    apprentice = Apprentice(tiny_model, tmp_path, dice(), probing, steps=1)
    before = apprentice.weights()
    apprentice.train()
    assert not torch.equal(apprentice.weights(), before)
    rows = apprentice.rollouts()
    assert all([*rollout.probes, *rollout.steps[0].probes] == list(probing.probes) for _, _, rollout in rows)
    for first in range(0, len(rows), 3):
        siblings = rows[first : first + 3]
        group = RolloutGroup(siblings[0][2].episode_id, tuple(rollout for _, _, rollout in siblings))
        assert score_group(group, probing).advantages.tolist() == [advantages for _, advantages, _ in siblings]
    [row] = apprentice.run.metrics()
    assert {row[f"reward/{name}"] is None for name in ("delta_chunk", "retention", "qa_gain")} == {False}
    asked = sum(len(answers) for _, _, rollout in rows for answers in rollout.probes.values())
    asked += sum(len(answers) for _, _, rollout in rows for s in rollout.steps for answers in s.probes.values())
    asked += sum(len(rollout.answers) + sum(len(s.answers) for s in rollout.steps) for _, _, rollout in rows)
    assert row["reader/questions"] == asked
