"""The arithmetic of docs/explanation/scale.md, done again from the code and the files that it is about."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from finemem_pipeline import tracking
from finemem_pipeline.cluster import api, checks, mirror
from finemem_pipeline.hooks import ROLLOUTS_SHOWN, flatten

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs/explanation/scale.md").read_text(encoding="utf-8")
RECIPES = yaml.safe_load((PROJECT / "conf/base/parameters_recipes.yml").read_text(encoding="utf-8"))["recipes"]
UPDATES, STEPS, BETWEEN = 200, 8 * 8 * 20, 10
"""Of the run that is counted: updates, steps of an update, updates between two checkpoints."""

QWEN3_4B = (36, (2560, 4096), (2560, 1024), (2560, 1024), (4096, 2560), (2560, 9728), (2560, 9728), (9728, 2560))
"""Layers; inputs and outputs of the matrices q, k, v, o, gate, up, down, as its config.json has them."""
SMOLLM2_135M = (30, (576, 576), (576, 192), (576, 192), (576, 576), (576, 1536), (576, 1536), (1536, 576))


def numbers(model: tuple[Any, ...], recipe: str) -> tuple[int, int]:
    """(inputs and outputs of a layer, trainable numbers) of an adapter on all linear layers."""
    layers, *matrices = model
    lora = RECIPES[recipe]["lora"]
    width = sum(inputs + outputs for inputs, outputs in matrices)
    return width, lora["r"] * width * min(lora.get("layers") or layers, layers)


def says(*texts: str) -> None:
    for text in texts:
        assert text in PAGE, text


def test_requests_of_a_launcher_that_waits():
    assert (mirror.WATCH_SECONDS, mirror.RELIST_SECONDS, api.PAGE) == (60, 300, 500)
    pages = [-(-objects // api.PAGE) for objects in (1000, 1000, 6 * 1000)]
    assert pages == [2, 2, 12]
    says("3 + 0.6 = 3.6 requests a minute", "2 + 2 + 12 pages in five minutes and 3 watches a minute are 6.2 requests")
    assert (3 + 3 / 5, 3 + sum(pages) / 5) == (3.6, 6.2)
    says(f"would make {3 * 12 * 1000:,}", "| 4 | 4 | 4 | 6 |")


def test_requests_beside_that():
    asked = {name: len(verbs) for name, verbs in checks.RIGHTS.items()}
    several = sum(asked.values()) + 1  # the namespace
    one = several - asked["services"]
    says(
        f"for the launcher itself {one}, or {several} with Services",
        f"| {one + 7} | {one + 7} | {several + 9} | 8,000 |",
    )


def test_pauses_between_tries():
    assert [0.5 * 2**tried for tried in range(api.TRIES - 1)] == [0.5, 1, 2, 4, 8]
    says("after 0.5, 1, 2, 4 and 8 s")


def test_bytes_of_adapters_and_checkpoints():
    width, large = numbers(QWEN3_4B, "qwen3_4b")
    says(f"32 × {width:,} numbers a layer", f"{large:,}", f"in float32 {4 * large / 1e6:.0f} MB")
    width, small = numbers(SMOLLM2_135M, "smollm2_135m")
    says(f"16 × {width:,} × 15 layers × 4 bytes = {4 * small / 1e6:.0f} MB")
    assert round(3 * 4 * large / 1e6 + 11, -1) == 800
    says("3 × 264 + 11 = 803 MB")


def test_traffic_of_a_run():
    rollouts = 30e3 * STEPS / 1e6
    assert round(rollouts) == 38
    put = 803 + BETWEEN * 38
    says(f"803 + 10 × 38 = {put:,} MB: {put / BETWEEN / 60:.1f} MB a second")
    assert pytest.approx(7.6, abs=0.1) == UPDATES * 38 / 1e3
    warm = 3 * 0.26 + 0.8  # its two adapters and what stands of its checkpoints
    assert round(UPDATES / BETWEEN * put / 1e3 + warm) == 25
    assert round(7.7 + 2 * 0.8 + warm / 2 + 0.26) == 10
    says("25 GB in 200 updates", "100 checkpoints a minute")
    many = 803 + BETWEEN * 8 * 38  # with 64 streams
    says(f"803 + 10 × {8 * 38} = {many:,} MB in ten updates", "| 2 | 2 | 6 | 2,000 |", "| 10 | 10 | 63 | 10,000 |")
    assert round(many / BETWEEN / 60) == 6
    assert pytest.approx(63, abs=0.5) == UPDATES * 8 * 38 / 1e3 + 2.4


def test_writes_to_mlflow():
    given: dict[str, Any] = {}
    for file in (PROJECT / "conf/base").glob("parameters*.yml"):
        given |= yaml.safe_load(file.read_text(encoding="utf-8"))
    said = int(re.search(r"its tags, (\d+) parameters in batches of 100", PAGE)[1])
    assert abs(len(flatten(given)) - said) <= 50  # a parameter more or less changes nothing
    assert (tracking._PARAMS_AT_ONCE, tracking._METRICS_AT_ONCE, tracking._FLUSH_EVERY) == (100, 1000, 5.0)
    says(f"200 × 45 = {UPDATES * 45:,} rows", f"{8 + UPDATES + 16} in all")
    says("17 × 31 ms = 0.5 cores", "9 million rows × 422 bytes = 3.8 GB")
    assert pytest.approx(17, abs=0.5) == 1000 / 60
    assert pytest.approx(3.8, abs=0.05) == 9e6 * 422 / 1e9


def test_files_of_mlflow_fit_its_volume():
    a_run = 264 + ROLLOUTS_SHOWN * 38
    says(f"264 + 8 × 38 = {a_run} MB a run", f"| 0.6 | 0.6 | {(264 + ROLLOUTS_SHOWN * 304) / 1e3:.1f} | 570 |")
    overlay = yaml.safe_load((PROJECT / "k8s/overlays/gpu-8/kustomization.yaml").read_text(encoding="utf-8"))
    [patch] = [each["patch"] for each in overlay["patches"] if each["target"].get("name") == "mlflow"]
    assert int(re.search(r"value: (\d+)Gi", patch)[1]) * 2**30 > 1000 * a_run * 1e6


def test_questions_to_the_reader():
    says(f"64 × (20 × 5 + 4) = {64 * (20 * 5 + 4):,} questions")
    assert 100 * 60 / 6656 < 1
