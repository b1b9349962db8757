"""What a pipeline is: its stages, and how each of them is to be executed.

A *definition* is the plain JSON form of a ``PipelineSpec``. A run stores the definition it executes, so that a
later change of the pipeline does not rewrite history.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.cache.policy import CachePolicy
from app.domain.retry import RetryPolicy
from app.domain.vocabulary import FinishReason, StageType

JsonObject = Mapping[str, Any]

DEFAULT_EXECUTOR = "LOCAL"
"""The executor of stages that name none: processes of the worker's own host."""


@dataclass(frozen=True)
class Resources:
    """What an attempt may use: CPU cores and memory in MB (a soft limit)."""

    cpus: float = 1.0
    memory_mb: int | None = None


@dataclass(frozen=True)
class StageConfig:
    """How a stage is executed; parsed from the free-form ``config`` of the stage."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    params: JsonObject = field(default_factory=dict)
    timeout_seconds: float | None = None
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    resources: Resources = field(default_factory=Resources)
    allow_failure: bool = False
    executor: str = DEFAULT_EXECUTOR
    workdir: str | None = None
    cache: CachePolicy | None = None


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

    key: str | None = None
    policy: ConcurrencyPolicy = ConcurrencyPolicy.QUEUE


@dataclass(frozen=True)
class PipelineConfig:
    """Settings every stage of a pipeline shares."""

    workdir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    params: JsonObject = field(default_factory=dict)
    timeout_seconds: float | None = None
    fail_fast: bool = True
    max_concurrent_stages: int | None = None
    max_concurrent_runs: int | None = None
    concurrency: Concurrency | None = None


@dataclass(frozen=True)
class PipelineSpec:
    """A whole pipeline, checked: names unique, dependencies known and free of cycles."""

    name: str
    description: str | None
    raw_config: JsonObject
    config: PipelineConfig
    stages: tuple[StageSpec, ...]


@dataclass(frozen=True)
class RunConfig:
    """What one run overrides: parameters for all stages, for single stages, the time limit, fail-fast.

    Of waiting runs and ready stages those with the highest ``priority`` go first. Without ``use_cache`` every stage is
    executed; what it leaves may be taken over later.
    """

    params: JsonObject = field(default_factory=dict)
    stage_params: Mapping[str, JsonObject] = field(default_factory=dict)
    timeout_seconds: float | None = None
    fail_fast: bool | None = None
    priority: int = 0
    queue_timeout_seconds: float | None = None
    use_cache: bool = True


def execution_spec(pipeline: PipelineConfig, stage: StageSpec, run: RunConfig) -> dict[str, Any]:
    """Everything an attempt of ``stage`` needs, as JSON: the effective values after all merging.

    Parameters merge pipeline < stage < run < run's stage; the environment merges pipeline < stage.
    """
    config = stage.config
    params = {**pipeline.params, **config.params, **run.params, **run.stage_params.get(stage.name, {})}
    return {
        "command": list(config.command),
        "env": {**pipeline.env, **config.env},
        "params": params,
        "workdir": config.workdir or pipeline.workdir,
        "timeoutSeconds": config.timeout_seconds,
        "retries": retry_to_json(config.retries),
        "resources": {"cpus": config.resources.cpus, "memoryMb": config.resources.memory_mb},
        "executor": config.executor,
        "cache": None if config.cache is None else _cache_to_json(config.cache, run),
    }


def _cache_to_json(policy: CachePolicy, run: RunConfig) -> dict[str, Any]:
    files = None if policy.files is None else list(policy.files)
    return {"version": policy.version, "files": files, "use": run.use_cache}


def retry_to_json(policy: RetryPolicy) -> dict[str, Any]:
    """The user-facing form of a policy (``config.retries``)."""
    return {
        "limit": policy.limit,
        "delay": policy.delay,
        "factor": policy.factor,
        "maxDelay": policy.max_delay,
        "jitter": policy.jitter,
        "on": sorted(reason.value for reason in policy.on),
    }


def retry_from_json(value: JsonObject) -> RetryPolicy:
    """The inverse of ``retry_to_json``; absent keys take their defaults."""
    return RetryPolicy(
        limit=value.get("limit", RetryPolicy.limit),
        delay=value.get("delay", RetryPolicy.delay),
        factor=value.get("factor", RetryPolicy.factor),
        max_delay=value.get("maxDelay", RetryPolicy.max_delay),
        jitter=value.get("jitter", RetryPolicy.jitter),
        on=frozenset(map(FinishReason, value["on"])) if "on" in value else RetryPolicy.on,
    )


def definition_of(spec: PipelineSpec) -> dict[str, Any]:
    """The plain form of a spec: what the user wrote, with derived orders filled in."""
    return {
        "name": spec.name,
        "description": spec.description,
        "config": dict(spec.raw_config),
        "stages": [
            {
                "name": stage.name,
                "stageType": stage.stage_type.value,
                "customName": stage.custom_name,
                "order": stage.order,
                "dependencies": list(stage.dependencies),
                "config": dict(stage.raw_config),
            }
            for stage in spec.stages
        ],
    }
