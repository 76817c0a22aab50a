"""How well the extractive reader answers when the memory is perfect, and when it is empty.

    python benchmarks/reader_quality.py                                     planted streams, no others at hand
    python benchmarks/reader_quality.py --realbench folder                  and squad and clinc150
    python benchmarks/reader_quality.py --realbench folder nlu banking77    and these instead

FINEMEM_REALBENCH in the environment names the folder too.

A perfect memory holds one item per sentence that a question needs, or one per labelled example of the stream, all in
one bank, of which BM25 brings back two. A reader that scores with an empty memory would reward a manager that keeps
nothing; one that fails with a perfect memory could not tell a good manager from a bad one. Long replies pass `sub_em`
too easily, hence their length and token F1. Exits with 1 if a source misses the aim.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from statistics import mean

from finemem_pipeline.benchmarks import BENCHMARKS, planted
from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.memory import Insert, MemoryBank
from finemem_pipeline.metrics import score
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner, sentences, stems
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.rollouts import Answer

PERFECT, EMPTY = 0.6, 0.05  # the aim: at least, at most
_EXAMPLE = re.compile(r"^(?:Query|Sentence): .*\nClass: \d+$", re.MULTILINE)


def perfect_memory(episode: Episode) -> MemoryBank:
    """One item per labelled example, or per sentence that a question needs, in the order of the stream."""
    kept: dict[tuple[int, str], None] = {}
    for chunk in episode.chunks:
        kept |= dict.fromkeys((chunk.index, example) for example in _EXAMPLE.findall(chunk.text))
    if not kept:
        kept |= dict.fromkeys(needed for question in episode.questions for needed in _needed(question, episode))
    bank = MemoryBank()
    for step, text in sorted(kept, key=lambda one: one[0]):
        bank, _ = bank.apply(Insert(text), step)
    return bank


def _needed(question: Question, episode: Episode) -> Iterator[tuple[int, str]]:
    """The sentence with the answer, and from every other chunk of the evidence the one that leads there."""
    asked = set(stems(question.text))
    cut = {step: sentences(episode.chunks[step].text) for step in question.evidence}
    holding = [
        (step, sentence)
        for step, found in cut.items()
        for sentence in found
        if any(answer.lower() in sentence.lower() for answer in question.answers)
    ]
    if not holding:
        return
    answering = max(holding, key=lambda one: len(asked & set(stems(one[1]))))
    yield answering
    asked |= set(stems(answering[1]))
    for step, found in cut.items():
        if step != answering[0]:
            yield step, max(found, key=lambda sentence: len(asked & set(stems(sentence))))


def row(source: str, episodes: Sequence[Episode]) -> tuple[str, bool]:
    """A line of the table, and whether the aim is met. Scores are means over streams of the means over questions."""
    reader = Reader(BM25(), ExtractiveReasoner())
    perfect = [_answers(reader, episode, perfect_memory(episode)) for episode in episodes]
    empty = [_answers(reader, episode, MemoryBank()) for episode in episodes]
    told = [answer for answers in perfect for answer in answers]
    asked = [question for episode in episodes for question in episode.questions]
    words = mean(len(answer.prediction.split()) for answer in told)
    f1 = mean(
        score(answer.prediction, replace(question, metric="token_f1"))
        for answer, question in zip(told, asked, strict=True)
    )
    with_memory, without = _mean(perfect), _mean(empty)
    met = with_memory >= PERFECT and without <= EMPTY
    line = (
        f"{source:<12}{len(episodes):>8}{len(asked):>10}{with_memory:>17.3f}{without:>15.3f}"
        f"{words:>15.1f}{f1:>10.3f}   {'met' if met else 'missed'}"
    )
    return line, met


def _answers(reader: Reader, episode: Episode, bank: MemoryBank) -> list[Answer]:
    return reader.answer([(question, bank) for question in episode.questions])


def _mean(answers: Sequence[Sequence[Answer]]) -> float:
    return mean(mean(answer.score for answer in stream if answer.score is not None) for stream in answers)


def main(show: Callable[[str], object] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    at_hand = os.environ.get("FINEMEM_REALBENCH")
    parser.add_argument("--realbench", type=Path, default=at_hand, help="folder of train, dev and test.jsonl.gz")
    parser.add_argument("sources", nargs="*", default=["squad", "clinc150"])
    parser.add_argument("--split", default="test", choices=planted.SPLITS)
    options = parser.parse_args()
    streams: dict[str, list[Episode]] = {}
    with tempfile.TemporaryDirectory() as folder:
        planted.write(Path(folder), planted.PlantedSpec(seed=1))
        streams["planted"] = list(BENCHMARKS["planted"](folder, options.split))
    if options.realbench is not None:
        read = sorted(BENCHMARKS["realbench"](options.realbench, options.split), key=lambda episode: episode.source)
        found = {source: list(group) for source, group in groupby(read, key=lambda episode: episode.source)}
        streams |= {source: found[source] for source in options.sources}
    show(
        f"extractive reader, {options.split} streams, BM25 top two; aim: ≥ {PERFECT} with a perfect memory, "
        f"≤ {EMPTY} with an empty one\n"
        f"{'source':<12}{'streams':>8}{'questions':>10}{'perfect memory':>17}{'empty memory':>15}"
        f"{'words a reply':>15}{'token F1':>10}   aim"
    )
    rows = [row(source, episodes) for source, episodes in streams.items()]
    show("\n".join(line for line, _ in rows))
    return 0 if all(met for _, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
