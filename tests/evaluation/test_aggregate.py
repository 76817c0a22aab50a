from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.evaluation import by_benchmark, by_source, by_task, mean_over_sources, question_mean


def test_streams_weigh_the_same_within_a_source_and_sources_within_the_mean(stream):
    results = [
        stream([1.0, 0.0, 0.0, 0.0], stream="s1", tokens=100),  # 0.25
        stream([0.75], stream="s2", tokens=300),  # squad: 0.5, 200 tokens
        stream([1.0, 1.0], source="mquake", stream="m1", tokens=1000),  # mquake: 1.0
    ]
    cell = mean_over_sources(results)
    assert cell.score == 0.75  # (0.5 + 1.0) / 2
    assert cell.memory_tokens == 600  # (200 + 1000) / 2
    assert (cell.questions, cell.unscored, cell.streams, cell.sources) == (7, 0, 3, 2)
    assert question_mean(results) == 3.75 / 7


def test_unscored_questions_and_streams_are_left_out_and_counted(stream):
    results = [
        stream([1.0, None, 0.0], stream="s1", tokens=10),
        stream([None, None], stream="s2", tokens=30),
    ]
    cell = by_source(results)["test", "squad"]
    assert (cell.score, cell.memory_tokens) == (0.5, 20)
    assert (cell.questions, cell.unscored, cell.streams, cell.unscored_streams) == (2, 3, 1, 1)


def test_a_source_without_a_score_is_none_and_counted_and_leaves_the_mean_alone(stream):
    results = [stream([0.5], tokens=10), stream([None], source="mquake", stream="m1", tokens=30)]
    assert by_source(results)["test", "mquake"].score is None
    cell = mean_over_sources(results)
    assert (cell.score, cell.sources, cell.unscored_sources, cell.unscored) == (0.5, 1, 1, 1)
    assert cell.memory_tokens == 20  # it was played all the same


def test_a_source_that_was_not_played_counts_as_unscored(stream):
    cell = mean_over_sources([stream([0.5])], sources=[("test", "squad"), ("test", "mquake")])
    assert (cell.score, cell.sources, cell.unscored_sources) == (0.5, 1, 1)


def test_nothing_scored_has_no_mean(stream):
    cell = mean_over_sources([stream([None])])
    assert cell.score is None
    assert question_mean([stream([None])]) is None
    assert mean_over_sources([]).memory_tokens is None


def test_a_task_is_the_mean_over_its_sources(stream):
    results = [
        stream([1.0], stream="s1"),
        stream([0.0, 1.0], source="hotpot", stream="h1"),
        stream([0.25], source="mquake", stream="m1", task="CR"),
    ]
    assert {task: cell.score for task, cell in by_task(results).items()} == {"AR": 0.75, "CR": 0.25}


@given(st.lists(st.lists(st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=4), max_size=5))
def test_every_question_is_either_scored_or_unscored(stream, scores):
    cell = mean_over_sources([stream(row, stream=f"s{place}") for place, row in enumerate(scores)])
    assert cell.questions + cell.unscored == sum(map(len, scores))
    assert cell.streams + cell.unscored_streams == len(scores)
    assert (cell.score is None) == (cell.questions == 0)


def test_a_source_that_stands_in_two_benchmarks_is_two_columns(stream):
    results = [stream([1.0], benchmark="memalpha"), stream([0.0], benchmark="realbench")]
    assert {place: cell.score for place, cell in by_source(results).items()} == {
        ("memalpha", "squad"): 1.0,
        ("realbench", "squad"): 0.0,
    }
    assert mean_over_sources(results).sources == 2
    assert {name: cell.score for name, cell in by_benchmark(results).items()} == {"memalpha": 1.0, "realbench": 0.0}


def test_published_scores_are_averaged_the_same_way(stream):
    results = [
        stream([1.0, 0.0], published=[0.0, 0.0], stream="s1"),
        stream([1.0], published=[1.0], stream="s2"),
        stream([None], published=[None], source="mquake", stream="m1"),
    ]
    cell = mean_over_sources(results)
    assert (cell.score, cell.published) == (0.75, 0.5)
    assert (cell.question_mean, cell.published_question_mean) == (2 / 3, 1 / 3)
    assert by_source(results)["test", "mquake"].published is None
