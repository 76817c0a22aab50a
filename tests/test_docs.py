"""What the documents say: links and paths exist, commands exist, examples work."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import yaml

from finemem_pipeline.benchmarks import BENCHMARKS, realbench
from finemem_pipeline.benchmarks.planted import PlantedSpec, generate
from finemem_pipeline.clock import Clock
from finemem_pipeline.config import MANAGERS, Parameters, parse_parameters
from finemem_pipeline.credit import SCHEMES
from finemem_pipeline.hooks import MlflowHook
from finemem_pipeline.manager.play import play
from finemem_pipeline.manager.teacher import Teacher
from finemem_pipeline.metrics import METRICS
from finemem_pipeline.pipeline_registry import register_pipelines
from finemem_pipeline.reasoning.extractive import ExtractiveReasoner
from finemem_pipeline.reasoning.reader import Reader
from finemem_pipeline.retrieval import BM25
from finemem_pipeline.retrieval.timed import TimedRetriever
from finemem_pipeline.rewards import score_rollout, variant
from finemem_pipeline.runner_config import RunnerConfig

PROJECT = Path(__file__).resolve().parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
NOT_SHIPPED = (
    "conf/local/",
    "src/finemem_pipeline/rewards/brevity.py",
    "src/finemem_pipeline/credit/best_match.py",
)
"""What a reader may make."""


def page_id(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [re.sub(rf"^{indent}", "", body, flags=re.M) for indent, body in found]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def conf(name: str) -> dict:
    return yaml.safe_load((PROJECT / f"conf/base/parameters_{name}.yml").read_text(encoding="utf-8"))


def parameters() -> dict:
    names = ("data", "reader", "recipes", "rewards", "training", "evaluation", "matrix", "compare")
    return {section: values for name in names for section, values in conf(name).items()}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), target
        if anchor:
            assert anchor in anchors(place), target


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "metrics.md"], ids=page_id)
def test_files_and_folders_in_backticks_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for path in re.findall(r"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:py|yml|yaml|md|ipynb|txt))?)`", text):
        if not path.startswith(NOT_SHIPPED):
            assert any((place / path).exists() for place in (PROJECT, PROJECT / "src/finemem_pipeline")), path


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_and_pipelines_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"`make ([a-z-]+)`", text) + re.findall(r"^ *make ([a-z-]+)", text, re.M)) <= targets
    named = re.findall(r"--pipelines?=([\w,]+)", text)
    assert {name for each in named for name in each.split(",")} <= set(register_pipelines())


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_parameters_on_command_lines_that_are_shown_are_known(page):
    for given in re.findall(r"--params=([^\s`]+)", page.read_text(encoding="utf-8")):
        for key in [pair.split("=")[0] for pair in given.split(",")]:
            assert knows(key.split(".")), key


def knows(path: list[str]) -> bool:
    model: object = Parameters
    if path[0] == "runner":
        model, path = RunnerConfig, path[1:]
    for part in path:
        fields = getattr(model, "model_fields", {})
        if "root" in fields:  # by name: a recipe, a benchmark
            model = get_args(fields["root"].annotation)[1]
            continue
        if part not in fields:
            return False
        choices = getattr(fields[part].annotation, "__args__", (fields[part].annotation,))
        models = [choice for choice in choices if hasattr(choice, "model_fields")]
        model = SimpleNamespace(model_fields={n: f for each in models for n, f in each.model_fields.items()})
    return True


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_json_and_yaml_examples_parse(page):
    for block in blocks(page, "json"):
        json.loads(block)
    for block in blocks(page, "yaml"):
        assert isinstance(yaml.safe_load(block), dict)


TUTORIAL = PROJECT / "docs/tutorials/new-scheme.md"


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=page_id)
def test_yaml_examples_are_parameters_that_a_run_would_take(page):
    for block in blocks(page, "yaml"):
        given = yaml.safe_load(block)
        raw = parameters()
        for section, values in given.items():
            raw[section] = {**raw[section], **values}
        parse_parameters(raw)


def test_the_tutorial_adds_a_scheme_that_keeps_the_score_and_trains(monkeypatch):
    function, entry = blocks(TUTORIAL, "python")
    namespace: dict = {"SCHEMES": SCHEMES}
    monkeypatch.setitem(SCHEMES, "best_match", None)  # so that it is taken out again
    exec(function, namespace)
    exec(entry, namespace)
    [given] = map(yaml.safe_load, blocks(TUTORIAL, "yaml"))
    raw = parameters()
    raw["rewards"] = {**raw["rewards"], **given["rewards"]}
    chosen = parse_parameters(raw).rewards.variant("eara_best_match")
    [episode] = generate(PlantedSpec(train=1, dev=1, test=1), "train")
    [group] = play([episode], Teacher(), Reader(BM25(), ExtractiveReasoner()), len, siblings=2)
    shared = SCHEMES["best_match"](group.rollouts[0])
    scores = [answer.score for answer in group.rollouts[0].answers]
    assert shared.sum() == pytest.approx(sum(scores) / len(scores))
    earned = score_rollout(group.rollouts[0], chosen).terms["outcome"]
    assert earned == pytest.approx(0.5 * shared.sum() / episode.steps + 0.5 * shared)


def test_every_named_recipe_is_in_the_readme_and_every_variant_on_its_page_and_the_other_way_round():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    page = (PROJECT / "docs" / "how-to" / "reward-variant.md").read_text(encoding="utf-8")
    for section, text, heading in (
        ("recipes", readme, "Choosing a recipe"),
        ("rewards", page, "Those that are there"),
    ):
        rows = re.findall(r"^\| (`.*?) \|", text.split(f"## {heading}")[1].split("\n## ")[0], re.M)
        assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(conf(section)[section])
    part = readme.split("## Choosing a reward")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", part, re.M)) == set(list(conf("rewards")["rewards"])[:4])


def test_the_table_of_managers_in_the_readme_is_the_one_that_is_evaluated():
    part = (PROJECT / "README.md").read_text(encoding="utf-8").split("## How to read the table")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", part, re.M) == conf("evaluation")["evaluation"]["managers"]


def test_the_page_on_managers_has_all_of_them_and_all_retrievers():
    text = (PROJECT / "docs/how-to/compare-managers.md").read_text(encoding="utf-8")
    names = [name for cell in re.findall(r"^\| (`[^|]*) \|", text, re.M) for name in re.findall(r"\w+", cell)]
    assert sorted(names) == sorted([*MANAGERS, "bm25", "dense", "hybrid"])


def test_the_stream_in_the_readme_can_be_loaded(tmp_path):
    [example] = blocks(PROJECT / "README.md", "json")
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(json.loads(example)) + "\n", encoding="utf-8")
    [episode] = BENCHMARKS["realbench"](tmp_path, "train")
    assert episode.steps == 2
    assert (episode.questions[0].evidence, episode.questions[0].stale) == ((1,), (0,))
    assert episode.chunks[0].questions[0].answers == ("12 Mill Lane",)


def test_the_teacher_and_the_offline_reader_answer_the_stream_in_the_readme(tmp_path):
    [example] = blocks(PROJECT / "README.md", "json")
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(json.loads(example)) + "\n", encoding="utf-8")
    episodes = list(BENCHMARKS["realbench"](file, "train"))
    [group] = play(episodes, Teacher(), Reader(BM25(), ExtractiveReasoner()), len)
    assert [answer.score for answer in group.rollouts[0].answers] == [1.0]


def test_the_reward_that_is_shown_can_be_scored(monkeypatch):
    from finemem_pipeline.rewards import REWARDS, score_rollout

    [source] = blocks(PROJECT / "docs/how-to/reward-variant.md", "python")
    namespace: dict = {}
    exec(source, namespace)
    monkeypatch.setitem(REWARDS, "brevity", namespace["brevity"])
    episodes = list(generate(PlantedSpec(train=1, dev=1, test=1), "test"))
    [group] = play(episodes, Teacher(), Reader(BM25(), ExtractiveReasoner()), len)
    scored = score_rollout(group.rollouts[0], variant("brief", {"brevity": {"weight": 0.2}}))
    written = [len(step.operations) for step in group.rollouts[0].steps]
    assert scored.total.tolist() == pytest.approx([0.2 / (1 + n) for n in written])


def test_the_schema_page_lists_the_fields_that_are_read():
    text = (PROJECT / "docs/reference/data.md").read_text(encoding="utf-8")
    models = {"Stream": realbench._Row, "Chunk": realbench._Chunk, "Question": realbench._Question}
    for heading, model in models.items():
        part = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)`", part, re.M) == list(model.model_fields)
    part = text.split("\n## Metrics\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", part, re.M)) == set(METRICS)


def test_the_metrics_page_lists_what_an_update_logs(tmp_path):
    from finemem_pipeline.training.runs import Run
    from finemem_pipeline.training.train import _TRAINER_METRICS, Practice, Settings, _Diary

    episodes = list(generate(PlantedSpec(train=2, dev=1, test=1), "train"))
    fields = dict.fromkeys(Settings.__dataclass_fields__, 1) | {"group_size": 2, "question_share": 0.5}
    clock, run = Clock(), Run(tmp_path)
    practice = Practice(
        episodes,
        Teacher(),
        Reader(TimedRetriever(BM25(), clock), ExtractiveReasoner()),
        len,
        variant("fine_mem", conf("rewards")["rewards"]["fine_mem"]),
        Settings(**fields),
        clock,
        filler_id=0,
        rollouts_folder=run.rollouts_folder,
        on_phase=lambda update, now: None,
    )
    practice.play_step(1, [0, 1])
    with clock("measure"):
        drift = SimpleNamespace(measures={"kl_update": 0.1})
    logs = {"loss": 0.1, **dict.fromkeys(_TRAINER_METRICS, 0.1)}
    _Diary(run, practice, drift).on_log(None, SimpleNamespace(global_step=1), None, logs)
    [row] = run.metrics()
    text = (PROJECT / "docs/reference/metrics.md").read_text(encoding="utf-8").split("## Evaluation")[0]
    assert set(re.findall(r"^\| `([^`]+)`", text, re.M)) == set(row)


def test_the_metrics_page_names_the_numbers_of_an_evaluation():
    logged: list[str] = []
    store = SimpleNamespace(text=lambda *_: None, metrics=lambda step, values: logged.extend(values))
    cell = {"score": 1.0, "memory_tokens": 1.0}
    MlflowHook()._evaluation_table(store, {"rows": [{"manager": "m", "sources": {"s": cell}, "mean": cell}]})
    text = (PROJECT / "docs/reference/metrics.md").read_text(encoding="utf-8").split("## Evaluation")[1]
    named = re.findall(r"^\| `(eval/[^`]+)`", text, re.M)
    filled = {name.replace("<manager>", "m").replace("<source>", source) for name in named for source in ("s", "mean")}
    assert filled == set(logged)


def test_the_rooms_that_are_drawn_are_the_packages_that_exist_in_the_order_that_is_checked():
    drawing = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8").split("```")[1]
    package = PROJECT / "src/finemem_pipeline"
    rooms = {each.name for each in package.iterdir() if (each / "__init__.py").exists()}
    rooms |= {each.stem for each in package.glob("*.py")} - {"__init__"}
    contract = (PROJECT / ".importlinter").read_text(encoding="utf-8").split("layers =")[1].split("\n\n")[0]
    layers = [set(re.findall(r"\w+", line)) for line in contract.strip().splitlines()]
    assert set().union(*layers) == rooms
    heads = [re.split(r"  +", line)[0] if line[0] != " " else "" for line in drawing.strip().splitlines()]
    drawn = [name for head in heads for name in re.findall(r"\w+", head)]
    assert set(drawn) >= rooms
    depth = {name: place for place, layer in enumerate(layers) for name in layer}
    assert [depth[name] for name in drawn] == sorted(depth[name] for name in drawn)


def test_no_document_names_a_path_of_one_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False).stdout
    told = [name for name in tracked.splitlines() if not name.startswith("tests/cluster/golden/")]  # of pods
    files = {PROJECT / name for name in told if name.endswith((".md", ".yml", ".yaml", ".cff"))}
    for file in files | set(PAGES):
        assert not re.search(r"(?<![\w.])/(home|root|Users|tmp)/\w", file.read_text(encoding="utf-8")), file
