import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.config import MANAGERS
from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.evaluation.estimate import HABITS, Rates, estimate

MANAGER = Rates(instructions=10, reply=20, read_per_second=100, write_per_second=10, price_in=2.0, price_out=8.0)
READER = Rates(instructions=5, reply=4, read_per_second=1000, write_per_second=100, price_in=1.0, price_out=1.0)


def episode(chunks: int, questions: int) -> Episode:
    return Episode(
        "e",
        "made",
        "AR",
        tuple(Chunk(t, "w " * 50) for t in range(chunks)),
        tuple(Question(f"q{n}", "who is it", ("x",)) for n in range(questions)),
    )


def estimated(passes, streams=None, manager=MANAGER, reader=READER):
    return estimate(
        streams or {"made": [episode(3, 2)]},
        passes,
        manager=manager,
        reader=reader,
        memory_tokens=30,
        window=120,
        k=2,
        count_tokens=lambda text: len(text.split()),
    )


def test_a_model_is_called_at_every_chunk_with_the_memory_as_far_as_it_is_shown():
    [found] = estimated({"trained": 1})["managers"]
    # 10 instructions and 50 words at each of three chunks; the memory grows by 20, of which 30 are shown at most
    assert found["write"] == {"calls": 3, "tokens_in": 3 * 60 + 0 + 20 + 30, "tokens_out": 60}
    # two questions of 3 words, two sentences of 30 tokens and 5 of instructions each
    assert found["read"] == {"calls": 2, "tokens_in": 2 * (5 + 3 + 60), "tokens_out": 8}
    assert found["hours"] == pytest.approx((230 / 100 + 60 / 10 + 136 / 1000 + 8 / 100) / 3600)
    assert found["money"] == pytest.approx((230 * 2 + 60 * 8 + 136 + 8) / 1e6)


def test_scripted_managers_call_no_model_and_bring_back_what_they_keep():
    found = {each["manager"]: each for each in estimated({"raw_chunks": 1, "sentences": 1, "no_memory": 1})["managers"]}
    assert [found[name]["write"]["calls"] for name in found] == [0, 0, 0]
    assert found["raw_chunks"]["read"]["tokens_in"] == 2 * (5 + 3 + 2 * 50)
    assert found["no_memory"]["read"]["tokens_in"] == 2 * (5 + 3)


def test_a_long_context_is_read_as_far_as_the_window_reaches_and_a_paragraph_as_a_whole():
    found = {each["manager"]: each for each in estimated({"long_context": 1, "overwrite_style": 1})["managers"]}
    assert found["long_context"]["read"]["tokens_in"] == 2 * (5 + 3 + 120)  # of 150
    assert found["overwrite_style"]["read"]["tokens_in"] == 2 * (5 + 3 + 30)


def test_managers_that_look_at_each_fact_call_more_often():
    [found] = estimated({"fact_list_style": 1})["managers"]
    assert found["write"]["calls"] == 3 * 9
    assert found["write"]["tokens_in"] == (3 * 60 + 20 + 30) + 3 * 8 * (10 + 6 * 30)


def test_every_manager_with_a_habit_is_one_by_name():
    assert set(HABITS) <= set(MANAGERS)


def test_money_is_not_told_where_something_has_no_price():
    free = Rates(10, 20, 100, 10)
    assert estimated({"trained": 1, "raw_chunks": 1}, manager=free)["total"]["money"] is None
    assert estimated({"raw_chunks": 1}, manager=free)["total"]["money"] == pytest.approx((216 + 8) / 1e6)
    assert estimated({"raw_chunks": 1}, reader=free)["total"]["money"] is None


def test_the_total_counts_every_benchmark_and_pass():
    streams = {"one": [episode(3, 2), episode(1, 5)], "other": [episode(4, 1)]}
    found = estimated({"trained": 3, "no_memory": 1}, streams)
    assert (found["streams"], found["steps"], found["tokens"], found["questions"]) == (3, 8, 400, 8)
    assert found["total"]["manager_calls"] == 3 * 8
    assert found["total"]["reader_calls"] == 4 * 8


@given(st.integers(1, 6), st.integers(0, 6), st.integers(1, 5))
def test_more_passes_cost_in_proportion(chunks, questions, times):
    streams = {"made": [episode(chunks, questions)]}
    once, often = (estimated({"trained": passes}, streams)["total"] for passes in (1, times))
    assert often == pytest.approx({name: times * value for name, value in once.items()})
