"""What the Dockerfiles promise: pinned bases, no root, nothing secret, nothing fetched and run unseen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
FILES = {path.suffix[1:]: path for path in sorted((PROJECT / "k8s").glob("Dockerfile.*"))}

Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """(word, what follows), continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def stages(given: list[Instruction]) -> list[list[Instruction]]:
    """The first is what stands before the first FROM."""
    found: list[list[Instruction]] = [[]]
    for word, rest in given:
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def faults(given: list[Instruction]) -> list[str]:
    before, *built = stages(given)
    arguments = dict(rest.partition("=")[::2] for word, rest in before if word == "ARG")
    found = []
    for stage in built:
        base = stage[0][1].split(" AS ")[0]
        digest = re.fullmatch(r"\$\{\w+_IMAGE\}@\$\{(\w+_DIGEST)\}", base)
        if digest is None or arguments.get(digest[1]) != "":
            found.append(f"{base}: not pinned by a digest that has to be given")
    users = [rest for word, rest in built[-1] if word == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0") or not users[-1][0].isdigit():
        found.append("the user is not a number that Kubernetes could tell from root")
    for word, rest in given:
        if word in ("ARG", "ENV", "LABEL") and re.search(r"(?i)\b\w*(token|password|secret|api_?key)(_\w*)?\b", rest):
            found.append(f"{word} {rest}: would be in the image for all to read")
        if word == "ADD" or (word == "RUN" and re.search(r"\b(curl|wget)\b|\|\s*(ba)?sh\b", rest)):
            found.append(f"{word} {rest}: runs what nobody has looked at")
        if word == "RUN" and re.search(r"\bsudo\b|chmod\s+\S*777|--trusted-host", rest):
            found.append(f"{word} {rest}")
    return found


@pytest.fixture(params=sorted(FILES))
def text(request: pytest.FixtureRequest) -> str:
    return FILES[request.param].read_text(encoding="utf-8")


def test_there_is_one_for_each_kind_of_processor():
    assert sorted(FILES) == ["cpu", "cuda"]


def test_the_two_differ_in_where_torch_comes_from_and_in_what_they_are_called():
    cpu, cuda = (instructions(FILES[name].read_text(encoding="utf-8")) for name in ("cpu", "cuda"))
    told = {
        " PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu": "",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility ": "",
        "launcher, MLflow server, CPU workers": "GPU workers",
        "}-cpu": "}-cuda",
    }
    for one, other in told.items():
        cpu = [(word, rest.replace(one, other)) for word, rest in cpu]
        cuda = [(word, rest.replace(one, other)) for word, rest in cuda]
    assert cpu == cuda


def test_they_keep_the_rules(text):
    assert faults(instructions(text)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("${RUNTIME_IMAGE}@${RUNTIME_DIGEST}", "python:3.11-slim"),
        ("ARG RUNTIME_DIGEST\n\nFROM", "ARG RUNTIME_DIGEST=sha256:0\n\nFROM"),
        ("USER 10001:10001", "USER root"),
        ("USER 10001:10001", "USER finemem"),
        ("USER 10001:10001\n", ""),
        ("WORKDIR /app\n", "WORKDIR /app\nRUN curl https://example.org/install.sh | sh\n"),
        ("WORKDIR /app\n", "WORKDIR /app\nARG HF_TOKEN\n"),
        ("WORKDIR /app\n", "WORKDIR /app\nADD https://example.org/weights.tar /app\n"),
    ],
)
def test_a_rule_that_is_broken_would_be_found(old, new):
    text = FILES["cpu"].read_text(encoding="utf-8")
    assert old in text
    assert faults(instructions(text.replace(old, new)))


def test_the_image_that_runs_has_no_compiler_and_takes_its_packages_from_the_one_that_built_them(text):
    built, runs = stages(instructions(text))[1:]
    assert built[0][1].endswith(" AS packages")
    assert ("COPY", "--from=packages /opt/venv /opt/venv") in runs
    assert not [rest for word, rest in runs if word == "RUN" and re.search(r"\b(pip|apt-get|apt)\b", rest)]


def test_packages_are_those_of_the_constraints(text):
    assert "PIP_CONSTRAINT=/app/constraints.txt" in text
    extras = re.findall(r'pip install --editable "\.\[([\w,]+)\]"', text)
    declared = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in extras[0].split(","):
        assert re.search(rf"^{extra} = \[", declared, re.M), extra
    pinned = (PROJECT / "constraints.txt").read_text(encoding="utf-8")
    for package in ("kubernetes", "psycopg", "deepspeed", "torch", "mlflow"):
        assert re.search(rf"^{package}==", pinned, re.M), package


def test_labels_tell_what_it_is_and_what_it_is_built_on(text):
    [labels] = [rest for word, rest in instructions(text) if word == "LABEL"]
    keys = re.findall(r"org\.opencontainers\.image\.([\w.]+)=", labels)
    assert keys == ["title", "description", "licenses", "version", "revision", "base.name", "base.digest"]


def test_the_user_is_the_one_that_pods_run_as_and_has_a_name(text):
    """PyTorch asks for the name of the user, and fails where a number has none."""
    mlflow = (PROJECT / "k8s/base/mlflow.yaml").read_text(encoding="utf-8")
    assert re.findall(r"runAs(?:User|Group): (\d+)", mlflow) == ["10001", "10001"]
    assert "USER 10001:10001" in text
    assert "useradd --uid 10001 " in text


def test_it_runs_kedro_and_has_no_arguments_of_its_own(text):
    runs = stages(instructions(text))[-1]
    assert [json.loads(rest) for word, rest in runs if word == "ENTRYPOINT"] == [["python", "-m", "kedro", "run"]]
    assert "CMD" not in [word for word, _ in runs]


def test_everything_that_is_copied_is_there_and_in_the_build_context(text):
    allowed = {
        line.removeprefix("!")
        for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = [
        source
        for word, rest in instructions(text)
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert {"src", "conf", "pyproject.toml"} <= set(copied)
    for source in copied:
        assert (PROJECT / source).exists(), source
        assert source.split("/")[0] in allowed, source


def test_its_logging_is_read_from_a_file_of_the_project(text):
    [file] = re.findall(r"KEDRO_LOGGING_CONFIG=/app/(\S+)", text)
    assert (PROJECT / file).is_file()
