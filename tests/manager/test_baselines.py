from __future__ import annotations

from finemem_pipeline.manager import Observation
from finemem_pipeline.manager.baselines import NoMemory, RawChunks, SentenceCopier
from finemem_pipeline.memory import Insert, MemoryBank, Skip, parse_operations


def operations(manager, episode):
    turns = manager.act([Observation(episode, chunk, MemoryBank()) for chunk in episode.chunks])
    parsed = [parse_operations(turn.completion.text) for turn in turns]
    assert all(one.malformed == () for one in parsed)
    return [list(one.operations) for one in parsed]


def test_no_memory_never_writes(stream):
    assert operations(NoMemory(), stream("Ann has a key.", "It rained.")) == [[Skip()], [Skip()]]


def test_raw_chunks_keeps_every_chunk_whole(stream):
    texts = ('Ann said "hello".\nBob left.', "It rained [again].")
    assert operations(RawChunks(), stream(*texts)) == [[Insert(texts[0])], [Insert(texts[1])]]


def test_the_copier_keeps_every_sentence(stream):
    episode = stream("Ann has a key. Bob left!", "It rained.")
    assert operations(SentenceCopier(), episode) == [
        [Insert("Ann has a key."), Insert("Bob left!")],
        [Insert("It rained.")],
    ]


def test_a_chunk_without_text_is_skipped_by_the_copier(stream):
    assert operations(SentenceCopier(), stream("\n \n")) == [[Skip()]]
