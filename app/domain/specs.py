"""What a pipeline is: its stages, and how each of them is executed.

A *definition* is the plain JSON form of a ``PipelineSpec``. A run stores the definition it executes, so that later
changes of the pipeline do not change the past.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from app.domain.cache_policy import CachePolicy, read_cache_policy, restore_cache_policy
from app.domain.checker import Checker, Path, no_text
from app.domain.keys import (
    from_json,
    json_value,
    key,
    nested,
    number,
    one_of,
    read_object,
    spelling,
    to_json,
    whole,
)
from app.domain.retry import RetryPolicy
from app.domain.vocabulary import ExecutorType, StageType

TIMEOUT_LIMIT_SECONDS = 366 * 24 * 3600

JsonObject = Mapping[str, Any]

_TIMEOUT = number(0.1, TIMEOUT_LIMIT_SECONDS)


def _read_command(checker: Checker, value: Any, path: Path) -> tuple[str, ...]:
    """A list of arguments; a plain text is a line for ``sh -c``."""
    if value is None:
        checker.problem(path, 'is missing: give the argv list of the stage, such as ["python", "train.py"]')
        return ()
    if isinstance(value, str):
        value = ["sh", "-c", value] if value.strip() else []
    if not isinstance(value, Sequence) or not value:
        checker.problem(path, 'must be a non-empty list of texts, such as ["python", "train.py"]')
        return ()
    if wrong := [(str(index), part) for index, part in enumerate(value) if not isinstance(part, str)]:
        for index, part in wrong:
            checker.problem((*path, index), no_text(part))
        return ()
    if not value[0].strip() or any("\0" in part for part in value):
        checker.problem(path, "must name a program and contain no NUL character")
    return tuple(value)


def _read_no_gpus(checker: Checker, value: Any, path: Path) -> int:
    if isinstance(value, bool) or value != 0:
        checker.problem(path, "gpus can't be claimed yet: leave it out, or 0")
    return 0


@dataclass(frozen=True)
class Resources:
    """What an attempt claims on its worker: CPU cores and memory in MB."""

    cpus: float = field(default=1.0, metadata=number(0.01, 4096))
    memory_mb: int | None = field(default=None, metadata=whole(16, 2**31 - 1))
    gpus: int = field(default=0, metadata=key(_read_no_gpus, is_stored=False))


@dataclass(frozen=True)
class StageConfig:
    """How a stage is executed. In the execution spec of a stage run, the values are those after all merging."""

    command: tuple[str, ...] = field(metadata=key(_read_command, tuple))
    env: Mapping[str, str] = field(default_factory=dict, metadata=key(Checker.env))
    params: JsonObject = field(default_factory=dict, metadata=key(Checker.mapping))
    timeout_seconds: float | None = field(default=None, metadata=_TIMEOUT)
    retries: RetryPolicy = field(default_factory=RetryPolicy, metadata=nested(RetryPolicy))
    resources: Resources = field(default_factory=Resources, metadata=nested(Resources))
    allow_failure: bool = field(default=False, metadata=key(Checker.flag, is_stored=False))
    executor: str = field(default=ExecutorType.LOCAL, metadata=one_of(ExecutorType))
    workdir: str | None = field(default=None, metadata=key(Checker.workdir))
    cache: CachePolicy | None = field(default=None, metadata=key(read_cache_policy, restore_cache_policy))


@dataclass(frozen=True)
class StageSpec:
    """A stage of a pipeline; ``raw_config`` is what the user wrote, ``config`` what it means."""

    name: str
    stage_type: StageType
    custom_name: str | None
    order: int
    dependencies: tuple[str, ...]
    raw_config: JsonObject
    config: StageConfig


class ConcurrencyPolicy(enum.StrEnum):
    """What a new run does when another one of its concurrency key is active."""

    QUEUE = "QUEUE"
    REJECT = "REJECT"
    CANCEL_IN_PROGRESS = "CANCEL_IN_PROGRESS"


@dataclass(frozen=True)
class Concurrency:
    """Of the runs with the same ``key`` one is RUNNING at a time; no key means the runs of this pipeline."""

    key: str | None = field(default=None, metadata=key(Checker.text))
    policy: ConcurrencyPolicy = field(default=ConcurrencyPolicy.QUEUE, metadata=one_of(ConcurrencyPolicy))


@dataclass(frozen=True)
class PipelineConfig:
    """Settings that all stages of a pipeline share."""

    workdir: str | None = field(default=None, metadata=key(Checker.workdir))
    env: Mapping[str, str] = field(default_factory=dict, metadata=key(Checker.env))
    params: JsonObject = field(default_factory=dict, metadata=key(Checker.mapping))
    timeout_seconds: float | None = field(default=None, metadata=_TIMEOUT)
    fail_fast: bool = field(default=True, metadata=key(Checker.flag))
    max_concurrent_stages: int | None = field(default=None, metadata=whole(1, 10_000))
    max_concurrent_runs: int | None = field(default=None, metadata=whole(1, 10_000))
    concurrency: Concurrency | None = field(default=None, metadata=nested(Concurrency))


@dataclass(frozen=True)
class PipelineSpec:
    """A whole pipeline, checked: names unique, dependencies known and free of cycles."""

    name: str
    description: str | None
    raw_config: JsonObject
    config: PipelineConfig
    stages: tuple[StageSpec, ...]


@dataclass(frozen=True)
class StageOverrides:
    """What one run overrides for a single stage."""

    params: JsonObject = field(default_factory=dict, metadata=key(Checker.mapping))


def _read_overrides(checker: Checker, value: Any, path: Path) -> dict[str, StageOverrides]:
    return {
        name: read_object(checker, StageOverrides, item, (*path, name))
        for name, item in checker.mapping(value, path).items()
    }


@dataclass(frozen=True)
class RunConfig:
    """What one run overrides: for all its stages, and for single ones by their names in ``stages``.

    Queued runs and ready stages with the highest ``priority`` go first. Without ``cache`` every stage is executed, and
    later runs may reuse the results.
    """

    params: JsonObject = field(default_factory=dict, metadata=key(Checker.mapping))
    stages: Mapping[str, StageOverrides] = field(default_factory=dict, metadata=key(_read_overrides))
    timeout_seconds: float | None = field(default=None, metadata=_TIMEOUT)
    fail_fast: bool | None = field(default=None, metadata=key(Checker.flag))
    priority: int = field(default=0, metadata=whole(-100, 100))
    queue_timeout_seconds: float | None = field(default=None, metadata=_TIMEOUT)
    cache: bool = field(default=True, metadata=key(Checker.flag))


def execution_spec(pipeline: PipelineConfig, stage: StageSpec, run: RunConfig) -> dict[str, Any]:
    """Everything an attempt of ``stage`` needs, as JSON: a ``StageConfig`` with the values after all merging.

    Parameters merge pipeline < stage < run < run's stage; the environment merges pipeline < stage.
    """
    config = stage.config
    overrides = run.stages.get(stage.name, StageOverrides())
    return to_json(
        replace(
            config,
            env={**pipeline.env, **config.env},
            params={**pipeline.params, **config.params, **run.params, **overrides.params},
            workdir=config.workdir or pipeline.workdir,
            cache=config.cache and replace(config.cache, use=run.cache),
        )
    )


def readable_config(spec: JsonObject) -> StageConfig:
    """What can be read of a stored execution spec, with defaults for the rest: also a damaged one must end."""
    command = spec.get("command")
    readable = {**spec, "command": command if isinstance(command, list) else []}
    return from_json(StageConfig, readable, lenient=True)


_RAW_CONFIG = "raw_config"


def _draft_fields(spec: type[PipelineSpec | StageSpec]) -> dict[str, str]:
    """The field that holds the value of each key of a draft; of ``config`` what the user wrote."""
    names = {spelling(item.name): item.name for item in fields(spec) if item.name != _RAW_CONFIG}
    return names | {"config": _RAW_CONFIG}


_DRAFT_FIELDS = _draft_fields(PipelineSpec)
_STAGE_DRAFT_FIELDS = _draft_fields(StageSpec)
DRAFT_KEYS = tuple(_DRAFT_FIELDS)
STAGE_DRAFT_KEYS = tuple(_STAGE_DRAFT_FIELDS)


def definition_of(spec: PipelineSpec) -> dict[str, Any]:
    """The plain form of a spec: what the user wrote, with derived orders filled in."""
    definition = {
        name: json_value(getattr(spec, item)) for name, item in _DRAFT_FIELDS.items() if name != "stages"
    }
    stages = [
        {name: json_value(getattr(stage, item)) for name, item in _STAGE_DRAFT_FIELDS.items()}
        for stage in spec.stages
    ]
    return definition | {"stages": stages}
