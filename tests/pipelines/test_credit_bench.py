from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from finemem_pipeline.benchmarks.realbench import write_episodes
from finemem_pipeline.config import CreditBenchConfig, DataConfig, ReaderConfig
from finemem_pipeline.pipelines.credit_bench.nodes import measure_fidelity
from finemem_pipeline.study.families import streams


def test_streams_that_changed_under_the_same_names_are_measured_anew(tmp_path: Path):
    bench = CreditBenchConfig(habits=["copier"], schemes=["uniform"], seeds=1, orders=2, folder=tmp_path / "rows")
    reader = ReaderConfig()
    [episode] = streams("clean", 3, seed=0)
    [other] = streams("clean", 3, seed=1)
    found = []
    for name, each in (("first", episode), ("second", replace(other, id=episode.id, source=episode.source))):
        write_episodes(tmp_path / name / "test.jsonl", [each])
        found.append(measure_fidelity(bench, DataConfig(source="realbench", path=tmp_path / name), reader))
    assert [row["stream"] for rows in found for row in rows] == [episode.id, episode.id]
    assert len(list((tmp_path / "rows").iterdir())) == 2
