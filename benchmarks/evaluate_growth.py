"""How the time and the memory of an evaluation grow with the length of a stream.

    python benchmarks/evaluate_growth.py [--rounds 1]

A planted stream of 200 chunks, 400,000 tokens, and shorter ones are played by the two scripted managers that keep
everything, as one item per chunk and as one item per sentence; then answered, kept on disk, scored, compared and
written down, as `kedro run --pipelines=evaluate` does it. Each length has a process of its own, so that its peak is its
own; the tokenizer is that of the small default model, whose weights are not loaded. Time is process time after the
imports, the fastest of the rounds; the slope is that of log time over log tokens at the three largest sizes, and 1 is
linear. Exits with 1 at a slope above 1.2, or if the longest stream needs more than 2 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

CHUNKS = (25, 50, 100, 200)
LARGEST = 3  # sizes the slope is fitted to
ALLOWED_SLOPE, ALLOWED_BYTES = 1.2, 2e9
FACTS, DISTRACTORS, QUESTIONS = 2, 158, 40  # a chunk of about 2,000 tokens
MODEL = Path(__file__).resolve().parents[1] / "data/06_models/base/smollm2-135m-instruct"


def evaluate(chunks: int, model: Path | None = MODEL) -> dict[str, float]:
    """Tokens read and the seconds of one evaluation. Without a model, words are counted."""
    from finemem_pipeline import wiring
    from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
    from finemem_pipeline.config import EvaluationConfig, ReaderConfig
    from finemem_pipeline.evaluation.results import results_from_rollouts
    from finemem_pipeline.evaluation.table import evaluate_table
    from finemem_pipeline.generation.takes import Takes
    from finemem_pipeline.manager.baselines import RawChunks, SentenceCopier
    from finemem_pipeline.pipelines.evaluate.playing import Player, batches, play_all
    from finemem_pipeline.reporting.record import write_record
    from finemem_pipeline.rollouts import RolloutGroup

    spec = PlantedSpec(
        train=1, chunks=chunks, facts_per_chunk=FACTS, distractors_per_chunk=DISTRACTORS, questions=QUESTIONS
    )
    streams = {"planted": list(generate(spec, "train"))}
    count_tokens = wiring.count_tokens(str(model)) if model else lambda text: len(text.split())
    config = ReaderConfig(cache=None)
    begin = time.process_time()
    reader, results = wiring.reader(config), []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("raw_chunks", RawChunks), ("sentences", SentenceCopier)):
            player, parts = Player(name, make, ""), batches(streams, EvaluationConfig().batch)
            for played in play_all(player, parts, reader, "", count_tokens, Takes(), Path(folder)):
                groups = [RolloutGroup(each.episode_id, (each,)) for each in played.rollouts]
                results += results_from_rollouts(name, streams["planted"], groups, count_tokens=count_tokens)
        table = evaluate_table(results, "raw_chunks")
        write_record(Path(folder) / "table.html", table, {}, {})
    return {"tokens": results[0].tokens_read, "seconds": time.process_time() - begin}


def measured(chunks: int, rounds: int) -> dict[str, float]:
    """The same in processes of their own: the least seconds, and the largest peak in bytes."""
    found = []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, __file__, "--chunks", str(chunks)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{chunks} chunks: {done.stderr[-2000:]}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {
        "tokens": found[0]["tokens"],
        "seconds": min(each["seconds"] for each in found),
        "bytes": max(each["bytes"] for each in found),
    }


def slope(rows: list[dict[str, float]]) -> float:
    """Of log seconds over log tokens, by least squares, at the largest sizes."""
    tokens, seconds = ([row[name] for row in rows[-LARGEST:]] for name in ("tokens", "seconds"))
    return float(np.polyfit(np.log(tokens), np.log(seconds), 1)[0])


def verdict(rows: list[dict[str, float]]) -> tuple[bool, str]:
    """Whether it held, and the last line."""
    steepness, most = slope(rows), rows[-1]["bytes"]
    held = steepness <= ALLOWED_SLOPE and most <= ALLOWED_BYTES
    return held, (
        f"{'OK' if held else 'MISSED'}: slope {steepness:.2f}, allowed {ALLOWED_SLOPE}; "
        f"{rows[-1]['tokens']:,.0f} tokens in {rows[-1]['seconds']:.1f} s and {most / 1e9:.2f} GB, "
        f"allowed {ALLOWED_BYTES / 1e9:.0f} GB"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="How an evaluation grows with the length of a stream.")
    parser.add_argument("--rounds", type=int, default=1, help="times to measure, the fastest counts")
    parser.add_argument("--chunks", type=int, help="evaluate one stream of so many chunks, in this process")
    arguments = parser.parse_args()
    if arguments.chunks is not None:
        evaluate(2)
        found = evaluate(arguments.chunks)
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({**found, "bytes": peak}))
        return 0
    rows = [measured(chunks, max(1, arguments.rounds)) for chunks in CHUNKS]
    console = Console()
    table = Table(title="evaluating one stream with two managers")
    for heading in ("chunks", "tokens", "seconds", "s per 100k tokens", "peak GB"):
        table.add_column(heading, justify="right")
    for chunks, row in zip(CHUNKS, rows, strict=True):
        table.add_row(
            *(f"{chunks}", f"{row['tokens']:,.0f}", f"{row['seconds']:.2f}"),
            *(f"{1e5 * row['seconds'] / row['tokens']:.2f}", f"{row['bytes'] / 1e9:.2f}"),
        )
    console.print(table)
    held, line = verdict(rows)
    console.print(line, soft_wrap=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
