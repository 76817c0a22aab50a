from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.takes import Takes
from finemem_pipeline.rollouts import Completion

TALK = [{"role": "user", "content": "what is it"}]


class Recorder:
    """Keeps the seeds that it was asked to sample with."""

    name = "recorder"

    def __init__(self):
        self.seeds = []

    def generate(self, conversations, sampling):
        self.seeds.append(sampling.seed)
        return [Completion("ok")] * len(conversations)


def test_sampled_calls_get_the_seed_of_the_take_and_greedy_ones_keep_theirs():
    recorder, takes = Recorder(), Takes()
    generator = takes.on(recorder)
    generator.generate([TALK], Sampling(temperature=0.7, seed=5))
    for takes.seed in (1, 2):
        generator.generate([TALK], Sampling(temperature=0.7))
    generator.generate([TALK], Sampling(temperature=0.0, seed=5))
    assert recorder.seeds == [5, 1, 2, 5]
    assert generator.name == "recorder"


def test_the_seconds_of_all_generators_add_up():
    takes = Takes()
    for _ in range(2):
        before = takes.seconds
        assert [reply.text for reply in takes.on(Recorder()).generate([TALK, TALK], Sampling())] == ["ok", "ok"]
        assert takes.seconds > before
