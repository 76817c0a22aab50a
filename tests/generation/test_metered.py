from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.metered import Meter, Spent
from finemem_pipeline.generation.scripted import ScriptedGenerator
from finemem_pipeline.rollouts import Completion

TALK = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "what is it"}]


class Recorder:
    """Keeps the seeds that it was asked to sample with."""

    name = "recorder"

    def __init__(self):
        self.seeds = []

    def generate(self, conversations, sampling):
        self.seeds.append(sampling.seed)
        return [Completion("ok")] * len(conversations)


def words(text: str) -> int:
    return len(text.split())


def test_calls_and_tokens_are_counted_over_all_generators_of_a_meter():
    meter = Meter(words)
    first, second = meter.on(ScriptedGenerator(["a b c", "d"])), meter.on(ScriptedGenerator(["e f"]))
    assert [reply.text for reply in first.generate([TALK, TALK], Sampling())] == ["a b c", "d"]
    second.generate([TALK], Sampling())
    assert (meter.spent.calls, meter.spent.tokens_in, meter.spent.tokens_out) == (3, 15, 6)
    assert meter.spent.seconds > 0


def test_a_backend_that_tells_its_tokens_is_believed():
    meter = Meter(words)
    reply = Completion("a b", prompt_ids=(1, 2, 3, 4), completion_ids=(5, 6, 7))
    meter.on(ScriptedGenerator([reply])).generate([TALK], Sampling())
    assert (meter.spent.tokens_in, meter.spent.tokens_out) == (4, 3)


def test_what_was_spent_since_is_a_difference():
    assert Spent(5, 50, 9, 2.0).since(Spent(3, 20, 4, 0.5)) == Spent(2, 30, 5, 1.5)


def test_sampled_calls_get_the_seed_of_the_moment_and_greedy_ones_keep_theirs():
    recorder, meter = Recorder(), Meter(words)
    generator = meter.on(recorder)
    generator.generate([TALK], Sampling(temperature=0.7, seed=5))
    for meter.seed in (1, 2):
        generator.generate([TALK], Sampling(temperature=0.7))
    generator.generate([TALK], Sampling(temperature=0.0, seed=5))
    assert recorder.seeds == [5, 1, 2, 5]
    assert generator.name == "recorder"
