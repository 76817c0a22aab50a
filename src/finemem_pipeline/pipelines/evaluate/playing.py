"""Streams played batch by batch, each kept on disk as soon as it is there, so that a run goes on where it was killed.

What a manager wrote does not depend on who reads it: a kept batch serves another reader too, which is only asked for
the answers. Answers that failed are asked for again the next time.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from finemem_pipeline import store
from finemem_pipeline.datasets import JsonLinesDataset
from finemem_pipeline.episodes import Episode
from finemem_pipeline.evaluation.results import Spent, StreamResult, results_from_rollouts
from finemem_pipeline.generation.takes import Takes
from finemem_pipeline.manager import Manager, Usage, usage_by_stream
from finemem_pipeline.manager.play import play
from finemem_pipeline.memory import CountTokens
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.reasoning.reader import Usage as ReaderUsage
from finemem_pipeline.records import decode_rollout, encode_rollout
from finemem_pipeline.reporting.bars import Bar
from finemem_pipeline.rollouts import Rollout, RolloutGroup
from finemem_pipeline.training import fingerprint
from finemem_pipeline.training.runs import digest

PLAYED = Path("data/07_model_output/played")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Player:
    """A manager that is to be played, and all that its replies depend on beside the streams."""

    name: str
    make: Callable[[], Manager]  # called once, when there is something to play
    identity: Any  # JSON-able
    seeds: Sequence[int] = (0,)  # of its sampling
    training_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Streams of one benchmark that are played together."""

    benchmark: str
    episodes: tuple[Episode, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Played:
    """One rollout of every stream of a batch, answered and kept in `file`."""

    player: Player
    seed: int
    batch: Batch
    rollouts: tuple[Rollout, ...]  # in the order of the streams
    spent: tuple[Spent, ...]  # by the manager's model on each stream
    file: Path
    asked: ReaderUsage  # what the reader did for it in this run


def names(played: Played) -> dict[str, Any]:
    """Who played what, as the records of an evaluation say it."""
    return {
        "manager": played.player.name,
        "benchmark": played.batch.benchmark,
        "seed": played.seed,
        "training_seed": played.player.training_seed,
    }


def results_of(played: Played, count_tokens: CountTokens) -> list[StreamResult]:
    """The scores of a batch, stream by stream."""
    return results_from_rollouts(
        **names(played),
        episodes=played.batch.episodes,
        groups=[RolloutGroup(each.episode_id, (each,)) for each in played.rollouts],
        spent=played.spent,
        count_tokens=count_tokens,
    )


def batches(streams: Mapping[str, Sequence[Episode]], size: int) -> list[Batch]:
    """The streams of each benchmark, at most `size` at a time, in their order."""
    found = []
    for benchmark, episodes in streams.items():
        for first in range(0, len(episodes), size):
            some = tuple(episodes[first : first + size])
            found.append(Batch(benchmark, some, fingerprint.streams(some)))
    return found


def play_all(
    player: Player,
    parts: Sequence[Batch],
    reader: Reader,
    reader_identity: Any,
    count_tokens: CountTokens,
    takes: Takes,
    folder: Path = PLAYED,
) -> Iterator[Played]:
    """Every batch once for every seed, as it is done. The player's model, if it has one, stands in `takes`.

    Raises what the manager and the reader raise.
    """
    make = cache(player.make)
    total = len(player.seeds) * sum(len(part.episodes) for part in parts)
    done = found = 0
    with Bar(f"evaluating {player.name}", total) as bar:
        for seed in player.seeds:
            for part in parts:
                file = folder / f"{player.name}-{digest(player.identity, seed, part.digest)}.jsonl.gz"
                kept, before = _read(file), reader.usage
                if kept is None:
                    takes.seed = seed
                    kept = _play(make(), part, reader, count_tokens, takes)
                    _keep(file, kept)
                else:
                    found += 1
                if kept.reader != digest(reader_identity) or _failed(kept.rollouts):
                    kept = _answered(kept, part.episodes, reader, digest(reader_identity))
                    _keep(file, kept)
                yield Played(player, seed, part, kept.rollouts, kept.spent, file, reader.usage.since(before))
                done += len(part.episodes)
                bar.at(done)
    if found:
        log.info("%s: %d of %d batches had been played before", player.name, found, len(player.seeds) * len(parts))
    make.cache_clear()
    gc.collect()  # only one language model at a time


@dataclass(frozen=True, slots=True)
class _Kept:
    """A batch as it lies on disk."""

    rollouts: tuple[Rollout, ...]
    spent: tuple[Spent, ...]  # by the manager's model on each stream
    reader: str | None  # who answered; None: nobody yet


def _play(manager: Manager, part: Batch, reader: Reader, count_tokens: CountTokens, takes: Takes) -> _Kept:
    """Played, and nothing asked yet: what a model has written is kept before a reader may fail.

    Calls and tokens are those of each stream. Streams wait for a model together: its seconds are shared out by the
    tokens of their text.
    """
    used, begin = dict(usage_by_stream(manager)), takes.seconds
    groups = play(part.episodes, manager, reader, count_tokens, questions=lambda _: (), ask_chunks=False)
    rollouts = tuple(rollout for group in groups for rollout in group.rollouts)
    now, seconds = usage_by_stream(manager), takes.seconds - begin
    read = sum(rollout.tokens_read for rollout in rollouts)
    spent = []
    for rollout in rollouts:
        usage = now.get(rollout.episode_id, Usage()).since(used.get(rollout.episode_id, Usage()))
        share = rollout.tokens_read / read if read else 1 / len(rollouts)
        spent.append(Spent(usage.calls, usage.prompt_tokens, usage.completion_tokens, seconds * share))
    return _Kept(rollouts, tuple(spent), None)


def _answered(kept: _Kept, episodes: Sequence[Episode], reader: Reader, name: str) -> _Kept:
    """The same rollouts, answered by this reader."""
    pairs = [
        (question, rollout.steps[-1].bank)
        for episode, rollout in zip(episodes, kept.rollouts, strict=True)
        for question in episode.questions
    ]
    answers = iter(reader.answer(pairs))
    rollouts = tuple(
        replace(rollout, answers=tuple(next(answers) for _ in episode.questions))
        for episode, rollout in zip(episodes, kept.rollouts, strict=True)
    )
    return _Kept(rollouts, kept.spent, name)


def _failed(rollouts: Sequence[Rollout]) -> bool:
    return any(answer.score is None for rollout in rollouts for answer in rollout.answers)


def _read(file: Path) -> _Kept | None:
    store.fetch(file)
    if not file.is_file():
        return None
    head, *rows = JsonLinesDataset(filepath=str(file)).load()
    spent = tuple(Spent(**each) for each in head["spent"])
    return _Kept(tuple(map(decode_rollout, rows)), spent, head["reader"])


def _keep(file: Path, kept: _Kept) -> None:
    head = {"spent": [asdict(each) for each in kept.spent], "reader": kept.reader}
    JsonLinesDataset(filepath=str(file)).save([head, *map(encode_rollout, kept.rollouts)])
    store.put(file)
