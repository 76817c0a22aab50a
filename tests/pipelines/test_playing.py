"""Batches kept on disk: what is played again after a kill, and what is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.generation.takes import Takes
from finemem_pipeline.manager import Observation, Turn
from finemem_pipeline.manager.baselines import SentenceCopier
from finemem_pipeline.manager.metered import Metered
from finemem_pipeline.pipelines.evaluate.playing import Player, batches, play_all
from finemem_pipeline.reasoning import Reply
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reasoning.scripted import ScriptedReasoner
from finemem_pipeline.retrieval import BM25

STREAMS = {
    "one": list(generate(PlantedSpec(train=3, chunks=2), "train")),
    "other": list(generate(PlantedSpec(test=2, chunks=3, seed=1), "test")),
}


def words(text: str) -> int:
    return len(text.split())


class Copier(SentenceCopier):
    """Counts the chunks that it has read, and gives up after so many waves."""

    def __init__(self, waves: int = 1000) -> None:
        self.read, self.waves = 0, waves

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        if self.waves == 0:
            raise KeyboardInterrupt
        self.waves -= 1
        self.read += len(observations)
        return super().act(observations)


class Model(Metered):
    """A manager with a model, called once for each chunk."""

    def __init__(self, generator):
        super().__init__(generator, Sampling(temperature=1.0), words)

    def act(self, observations: Sequence[Observation]) -> list[Turn]:
        return [Turn(reply) for reply in self.ask([(each, chunk_of(each)) for each in observations])]


def chunk_of(observation: Observation):
    return [{"role": "user", "content": observation.chunk.text}]


@pytest.fixture
def reader() -> Reader:
    return Reader(BM25(), ExtractiveReasoner())


def run(player: Player, folder, reader, takes=None, name="reader", size=2):
    return list(play_all(player, batches(STREAMS, size), reader, name, words, takes or Takes(), folder))


def test_no_batch_has_streams_of_two_benchmarks():
    found = batches(STREAMS, 2)
    assert [(each.benchmark, len(each.episodes)) for each in found] == [("one", 2), ("one", 1), ("other", 2)]
    assert len({each.digest for each in found}) == 3


def test_a_run_that_was_killed_goes_on_with_the_batch_it_was_killed_in(tmp_path, reader):
    killed, after = Copier(waves=3), Copier()  # one wave for each chunk: the second batch is in the middle
    with pytest.raises(KeyboardInterrupt):
        run(Player("copier", lambda: killed, ""), tmp_path, reader)
    assert len(list(tmp_path.iterdir())) == 1
    found = run(Player("copier", lambda: after, ""), tmp_path, reader)
    assert [len(each.rollouts) for each in found] == [2, 1, 2]
    assert after.read == 1 * 2 + 2 * 3
    whole = run(Player("copier", Copier, ""), tmp_path / "anew", reader)
    assert [each.rollouts for each in found] == [each.rollouts for each in whole]


def test_what_was_played_is_not_played_again_and_no_manager_is_built_for_it(tmp_path, reader):
    first = run(Player("copier", Copier, ""), tmp_path, reader)

    def never():
        raise AssertionError

    again = run(Player("copier", never, ""), tmp_path, reader)
    assert [(each.rollouts, each.spent, each.file) for each in again] == [
        (each.rollouts, each.spent, each.file) for each in first
    ]


@pytest.mark.parametrize("other", [Player("copier", Copier, "x"), Player("copier", Copier, "", seeds=[1])])
def test_another_manager_or_seed_is_played_anew(tmp_path, reader, other):
    first, second = run(Player("copier", Copier, ""), tmp_path, reader), run(other, tmp_path, reader)
    assert not {each.file for each in first} & {each.file for each in second}


def test_another_reader_answers_the_same_memories(tmp_path, reader):
    first = run(Player("copier", Copier, ""), tmp_path, reader)
    other = Reader(BM25(), ScriptedReasoner(lambda asked: Reply("no idea")))
    found = run(Player("copier", lambda: pytest.fail("played again"), ""), tmp_path, other, name="other")
    assert {answer.prediction for each in found for rollout in each.rollouts for answer in rollout.answers} == {
        "no idea"
    }
    assert [[rollout.steps for rollout in each.rollouts] for each in found] == [
        [rollout.steps for rollout in each.rollouts] for each in first
    ]


def test_answers_that_failed_are_asked_for_again(tmp_path):
    failing = Reader(BM25(), ScriptedReasoner(lambda asked: Reply("", failure="timed out")), max_unscored_share=1.0)
    [first, *_] = run(Player("copier", Copier, ""), tmp_path, failing)
    assert {answer.score for rollout in first.rollouts for answer in rollout.answers} == {None}
    [again, *_] = run(
        Player("copier", Copier, ""), tmp_path, Reader(BM25(), ScriptedReasoner(lambda asked: Reply("no idea")))
    )
    assert {answer.score for rollout in again.rollouts for answer in rollout.answers} == {0.0}


def test_what_a_model_has_written_is_kept_though_the_reader_fails(tmp_path, reader):
    failing = Reader(BM25(), ScriptedReasoner(lambda asked: Reply("", failure="timed out")), max_unscored_share=0.0)
    copier = Copier()
    with pytest.raises(Exception, match="could not be scored"):
        run(Player("copier", lambda: copier, ""), tmp_path, failing)
    assert copier.read == 2 * 2
    run(Player("copier", lambda: copier, ""), tmp_path, reader)
    assert copier.read == 3 * 2 + 2 * 3


def test_a_sampling_manager_is_played_once_for_each_seed(tmp_path, reader):
    takes = Takes()
    generator = ScriptedGenerator(lambda asked: f'[{{"op": "INSERT", "content": "seed {takes.seed}"}}]')
    player = Player("model", lambda: Model(takes.on(generator)), "", seeds=[4, 7])
    found = run(player, tmp_path, reader, takes)
    assert [each.seed for each in found] == [4, 4, 4, 7, 7, 7]
    kept = {(each.seed, item.text) for each in found for r in each.rollouts for item in r.steps[-1].bank.items}
    assert kept == {(4, "seed 4"), (7, "seed 7")}


def test_every_stream_is_charged_for_its_own_calls_and_tokens_and_a_share_of_the_time(tmp_path, reader):
    takes = Takes()
    player = Player("model", lambda: Model(takes.on(ScriptedGenerator(lambda asked: "[ ]"))), "", seeds=[0, 1])
    found = run(player, tmp_path, reader, takes)
    spent = [cost for each in found for cost in each.spent]
    assert [cost.calls for cost in spent] == [2, 2, 2, 3, 3] * 2
    assert [cost.tokens_out for cost in spent] == [4, 4, 4, 6, 6] * 2
    read = [rollout.tokens_read for each in found for rollout in each.rollouts]
    assert [cost.tokens_in for cost in spent] == read  # the prompt is the chunk alone
    assert sum(cost.seconds for cost in spent) == pytest.approx(takes.seconds)
