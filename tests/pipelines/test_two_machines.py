"""What one machine has written another one reads: projects that share the place where data is kept, and nothing else."""

from __future__ import annotations

from pathlib import Path

TIMINGS = ("seconds/", "tokens_per_second")


def run_folder(project) -> Path:
    [folder] = project.folder.glob("data/06_models/fine_mem-*")
    return folder


def test_every_command_ends_well(machines):
    for project in (machines.first, machines.second, machines.third, machines.alone):
        for name, outcome in project.outcomes.items():
            assert (outcome.code, outcome.error) == (0, "None"), (name, outcome.output[-3000:])
