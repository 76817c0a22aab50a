"""conf/<env>/runner.yml: what the pods of a run get, and how the launcher behaves. Closed and typed like parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from kedro.config import MissingConfigException
from omegaconf.errors import ConfigAttributeError, OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator
from yaml import YAMLError

from finemem_pipeline.config import ConfigError, Count, Section, Whole
from finemem_pipeline.errors import unknown


def _as_text(value: Any) -> Any:
    """A number that stands where a text is meant: `cpu: 4`, and all numbers of --params."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text)]
Quantity = Annotated[Text, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""As Kubernetes writes it: "4", "500m", "16Gi"."""


class VolumeConfig(Section):
    """A persistent volume claim that the pods mount, and the launcher too."""

    claim: str
    path: Path = Path("data")
    """Where it is mounted, as seen from the project, in the launcher and in the pods alike."""
    sub_path: str = ""
    """A folder of the volume, instead of its root."""

    @field_validator("path")
    @classmethod
    def _hides_no_code(cls, path: Path) -> Path:
        if not path.parts or ".." in path.parts:
            raise ValueError(f"expected a folder of the project such as data, or one from the root, found '{path}'")
        return path


class RunnerConfig(Section):
    """conf/<env>/runner.yml."""

    image: str | None = None
    """With its digest, if what runs is to be known for sure: registry/finemem-pipeline@sha256:…"""
    project_path: str = "/app"
    """Where the image has the project."""
    context: str | None = None
    """Of the kubeconfig; null: the current one, or the cluster that the launcher itself runs in."""
    namespace: Annotated[str, Field(min_length=1)] = "finemem"
    backend: Literal["job", "jobset", "trainjob"] = "job"

    nodes: Count = 1
    """Pods of a group that trains together."""
    processes: Count = 1
    """Of a pod; one per GPU as a rule."""
    gpus: Whole = 1
    """Of a pod, like what follows."""
    cpu: Quantity = "4"
    memory: Quantity = "16Gi"
    shm: Quantity = "2Gi"
    scratch: dict[str, Quantity] = Field({"/tmp": "10Gi"})
    """Folders that pods may write to and lose, and how large they may grow."""
    volume: VolumeConfig | None = None
    """Null where conf/<env>/globals.yml puts all data into an object store."""
    env: dict[str, Text] = Field({})
    secrets: dict[str, str] = Field({})
    """Variable -> secret/key, of a Secret in the namespace."""
    service_account: str = "finemem-worker"
    pull_secrets: list[str] = Field([])
    node_selector: dict[str, Text] = Field({})
    priority_class: str = ""
    queue: str = ""
    """A LocalQueue of Kueue."""

    side_by_side: Count = 4
    """Jobs at the same time."""
    grace: Count = 180
    """Seconds between SIGTERM and SIGKILL: time to write a checkpoint."""
    retries: Whole = 3
    """Pods that may fail without the work being at fault. Preemptions do not count."""
    deadline: Whole = 7 * 24 * 3600
    """Seconds from start to end of a job, time in a queue left out; 0 sets no limit."""
    keep: Whole = 259200
    """Seconds that a finished job stays on the cluster to be looked at."""
    patience: Annotated[float, Field(gt=0)] = 900.0
    """Seconds that a job may be held up by what can pass: no node free, quota used up, registry down."""
    short_patience: Annotated[float, Field(gt=0)] = 120.0
    """Seconds that it may be held up by what a person must mend."""
    outcomes: str | None = None
    """Folder or URL where is written down how jobs ended, for when the cluster has forgotten them; null: beside the
    data, in 08_reporting/jobs."""
    all_ranks: bool = False
    """Forward the logs of every pod of a group; else of the first."""
    on_interrupt: Literal["cancel", "detach"] = "cancel"
    """What Ctrl-C does unless another answer is given. Without a terminal to ask at it cancels."""
    on_sigterm: Literal["cancel", "detach"] = "detach"
    dry_run: bool = False
    """Print every manifest and create nothing."""

    @field_validator("secrets")
    @classmethod
    def _secret_and_key(cls, secrets: dict[str, str]) -> dict[str, str]:
        for variable, place in secrets.items():
            if not re.fullmatch(r"[^/]+/[^/]+", place):
                raise ValueError(f"secrets.{variable}: expected secret/key, found {place!r}")
        return secrets


class Rendered(Exception):
    """A dry run has printed its manifests, and there is nothing more to do."""


def read_runner(loader: Mapping[str, Any]) -> dict[str, Any] | None:
    """What conf's runner.yml holds, None where the environment has none."""
    try:
        return dict(loader["runner"])
    except MissingConfigException:
        return None
    except ConfigAttributeError as fault:  # of a list
        raise ConfigError("runner.yml: expected keys and values, found something else") from fault
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as fault:
        raise ConfigError(f"runner.yml cannot be read: {str(fault).splitlines()[0]}") from fault


def parse_runner(options: Mapping[str, Any]) -> RunnerConfig:
    """The options as a model. Raises ConfigError listing every fault, each with the nearest known name."""
    try:
        return RunnerConfig.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError("\n".join(_faults(error))) from None


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            *place, key = fault["loc"]
            model: type[BaseModel] = VolumeConfig if place == ["volume"] else RunnerConfig
            yield unknown(".".join(["runner.yml", *map(str, place)]), str(key), model.model_fields, "key")
        elif fault["type"] == "value_error":
            text = str(fault["ctx"]["error"])
            yield f"runner.yml: {text if text.startswith(where) else f'{where}: {text}'}"
        elif fault["type"] == "string_pattern_mismatch":
            yield f"runner.yml: {where}: expected a quantity such as 4, 500m or 16Gi, found {fault['input']!r}"
        else:
            yield f"runner.yml: {where}: {fault['msg']}, found {fault['input']!r}"
