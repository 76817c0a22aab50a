"""Rows that go through the model together."""

from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.training.passes import deal, spread

sizes = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), min_size=1, max_size=40).map(
    lambda found: sorted(found, key=sum, reverse=True)
)


def test_short_rows_go_together_where_long_ones_went_apart():
    long, short = (300, 100), (80, 20)
    assert deal([long, long, *[short] * 9], rows=2) == [2, 8, 1]


def test_rows_of_one_size_go_by_their_number():
    assert deal([(9, 3)] * 7, rows=3) == [3, 3, 1]
    assert deal([], rows=3) == []


def widths(sizes, counts):
    at = 0
    for count in counts:
        rows = sizes[at : at + count]
        yield count * (max(prompt for prompt, _ in rows) + max(said for _, said in rows))
        at += count


@given(sizes, st.integers(1, 8))
def test_no_pass_takes_more_than_so_many_of_the_largest_rows(sizes, rows):
    counts = deal(sizes, rows)
    assert sum(counts) == len(sizes)
    room = rows * (max(prompt for prompt, _ in sizes) + max(said for _, said in sizes))
    assert max(widths(sizes, counts)) <= room
    assert all(count >= rows for count in counts[:-1])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 5))
def test_spread_over_more_passes_no_row_is_lost_and_none_is_empty(counts, more):
    passes = min(len(counts) + more, sum(counts))
    found = spread(counts, passes)
    assert (len(found), sum(found)) == (max(len(counts), passes), sum(counts))
    assert min(found) >= 1
