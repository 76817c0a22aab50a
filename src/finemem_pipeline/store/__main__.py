"""Copies what lies under data/ to the place where data is kept, or from there:

    python -m finemem_pipeline.store put data/06_models/base/smollm2-135m-instruct --env=k8s
    python -m finemem_pipeline.store get data/06_models/fine_mem-0123456789ab/policy-00006 --env=k8s

A folder of weights or a checkpoint is brought only if it is whole.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from finemem_pipeline import store
from finemem_pipeline.errors import FinememError


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(prog="python -m finemem_pipeline.store", description=__doc__)
    parser.add_argument("what", choices=("put", "get"))
    parser.add_argument("paths", nargs="+", type=Path, help="files or folders under data/")
    parser.add_argument("--env", default="local", help="the environment of conf whose globals.yml names the place")
    asked = parser.parse_args()
    try:
        with store.kept_in(base(Path.cwd(), asked.env), Path.cwd()):
            if not store.elsewhere():
                raise FinememError(f"--env={asked.env} keeps data in data/ itself: there is no other place to copy to.")
            for path in asked.paths:
                copy(asked.what, path)
                print(store.told(path), "->" if asked.what == "get" else "<-", path)  # noqa: T201
    except FinememError as error:
        sys.exit(f"Error: {error}")


def copy(what: str, path: Path) -> None:
    """One file or folder. Raises FinememError if it is not where it should come from."""
    if what == "put":
        if not path.exists():
            raise FinememError(f"{path}: no such file or folder")
        store.put(path)
    elif not store.fetch_whole(path):
        if not store.there(path):
            raise FinememError(f"{store.told(path)}: there is nothing")
        store.fetch(path)


def base(project: Path, environment: str) -> str:
    """Where that environment keeps data."""
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / settings.CONF_SOURCE), env=environment, **settings.CONFIG_LOADER_ARGS
    )
    return str(loader["globals"]["data"])


if __name__ == "__main__":
    main()
