"""`python -m finemem_pipeline` is `kedro run` for an installed package."""

import sys
from pathlib import Path

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main() -> None:
    package = Path(__file__).parent.name
    configure_project(package)
    find_run_command(package)(standalone_mode=not hasattr(sys, "ps1"))


if __name__ == "__main__":
    main()
