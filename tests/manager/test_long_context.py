from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.episodes import Chunk, Episode
from finemem_pipeline.manager.long_context import LongContext
from finemem_pipeline.manager.play import play
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25


def count_words(text: str) -> int:
    return len(text.split())


def banks(window: int, *chunks: str) -> list[list[str]]:
    episode = Episode("e", "made", "AR", tuple(Chunk(t, text) for t, text in enumerate(chunks)), ())
    reader = Reader(BM25(), ExtractiveReasoner())
    [group] = play([episode], LongContext(count_words, window), reader, count_words)
    steps = group.rollouts[0].steps
    assert not any(each.refused for step in steps for each in step.operations)
    return [[item.text for item in step.bank.items] for step in steps]


def test_chunks_are_kept_whole_as_long_as_they_fit():
    assert banks(4, "a b", "c d") == [["a b"], ["a b", "c d"]]


def test_what_is_oldest_is_deleted_or_cut_when_the_window_is_passed():
    assert banks(4, "a b", "c d", "e")[2] == ["b", "c d", "e"]
    assert banks(4, "a b", "c d", "e f g")[2] == ["d", "e f g"]
    assert banks(4, "a b", "c d", "e f g h i")[2] == ["f g h i"]


def test_a_chunk_without_text_takes_no_room():
    assert banks(4, "a b", "\n") == [["a b"], ["a b"]]


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1 token, found 0"):
        LongContext(len, 0)


@given(
    st.integers(1, 12), st.lists(st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join), min_size=1, max_size=6)
)
def test_the_memory_is_the_end_of_the_stream(window, chunks):
    read: list[str] = []
    for chunk, bank in zip(chunks, banks(window, *chunks), strict=True):
        read += chunk.split()
        assert " ".join(bank).split() == read[-window:]
