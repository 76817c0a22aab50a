from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.evaluation.lengths import buckets


def test_streams_stand_in_the_bucket_of_their_length_and_empty_buckets_are_left_out(stream):
    results = [stream([1.0], stream=f"s{read}", read=read) for read in (100, 3999, 4000, 70_000, 900_000)]
    found = buckets(results)
    assert [(each.name, len(each.streams)) for each in found] == [
        ("up to 4k", 2),
        ("4k–16k", 1),
        ("64k–256k", 1),
        ("from 256k", 1),
    ]
    assert [result.stream for result in found[1].of(results)] == ["s4000"]


def test_a_bucket_is_beyond_training_if_all_its_streams_are_longer_than_the_longest(stream):
    results = [stream([1.0], stream=f"s{read}", read=read) for read in (4500, 9000, 20_000)]
    assert [each.beyond for each in buckets(results, longest_trained=4500)] == [False, True]
    assert [each.beyond for each in buckets(results)] == [None, None]


@given(st.lists(st.integers(0, 2_000_000), min_size=1, max_size=20))
def test_every_stream_stands_in_exactly_one_bucket(stream, lengths):
    results = [stream([1.0], stream=f"s{place}", read=read) for place, read in enumerate(lengths)]
    found = [result.stream for each in buckets(results) for result in each.of(results)]
    assert sorted(found) == sorted(result.stream for result in results)
