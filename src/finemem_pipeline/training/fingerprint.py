"""What a result depends on beside its parameters: the code that makes it, the libraries, the base model.

Part of the key of a run: a change of any of these makes another run, instead of an old result under a new name.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import finemem_pipeline
from finemem_pipeline.benchmarks.realbench import dump
from finemem_pipeline.episodes import Episode
from finemem_pipeline.training.runs import digest

ROOMS = ("memory", "credit", "metrics", "rewards", "manager", "reasoning", "retrieval", "training")
FILES = ("replay.py", "rollouts.py", "episodes.py", "generation/local.py")
LIBRARIES = ("torch", "transformers", "trl", "peft")


@cache
def code(*more: str) -> str:
    """Digest of the code that plays, answers, scores and learns, and of `more` files of the package.

    Comments and docstrings do not count.
    """
    root = Path(finemem_pipeline.__file__).parent
    files = sorted(file for room in ROOMS for file in (root / room).rglob("*.py")) + [
        root / name for name in (*FILES, *more)
    ]
    read = hashlib.sha256()
    for file in files:
        read.update(f"{file.relative_to(root)}\n{_substance(file.read_text(encoding='utf-8'))}\n".encode())
    return read.hexdigest()[:12]


def libraries() -> dict[str, str]:
    """Versions of those that the weights depend on."""
    return {name: version(name) for name in LIBRARIES}


def base_model(model: str) -> dict[str, int] | str:
    """Names and sizes of a local model's files, or the id of a Hub model."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}


def weights(folder: Path) -> str:
    """Digest of the files in a folder of weights."""
    read = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        with file.open("rb") as stream:
            read.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return read.hexdigest()[:12]


def streams(episodes: Sequence[Episode]) -> str:
    """Digest of streams and their questions."""
    return digest([dump(episode) for episode in episodes])


def _substance(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
