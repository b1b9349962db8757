"""Reads what a user wrote (GraphQL input or YAML) into specs; all problems are found and reported at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from app.domain.input.cache import read_cache_policy
from app.domain.input.checker import Path, Reader, no_text
from app.domain.plan import CycleFound, topological_order
from app.domain.retry import RETRYABLE, RetryPolicy
from app.domain.specs import (
    DEFAULT_EXECUTOR,
    Concurrency,
    ConcurrencyPolicy,
    PipelineConfig,
    PipelineSpec,
    Resources,
    RunConfig,
    StageConfig,
    StageSpec,
    retry_from_json,
)
from app.domain.vocabulary import StageType
from app.errors import InvalidInput

STAGES_LIMIT = 10_000
TIMEOUT_LIMIT_SECONDS = 366 * 24 * 3600
EXECUTORS = (DEFAULT_EXECUTOR,)

DRAFT_KEYS = ("name", "description", "config", "stages")
STAGE_DRAFT_KEYS = ("name", "stageType", "customName", "order", "dependencies", "config")
PIPELINE_KEYS = (
    "workdir",
    "env",
    "params",
    "timeout",
    "failFast",
    "maxConcurrentStages",
    "maxConcurrentRuns",
    "concurrency",
)
STAGE_KEYS = (
    "command",
    "env",
    "params",
    "timeout",
    "retries",
    "resources",
    "allowFailure",
    "executor",
    "workdir",
    "cache",
)
RUN_KEYS = ("params", "stages", "timeout", "failFast", "priority", "queueTimeout", "cache")
RETRY_KEYS = ("limit", "delay", "factor", "maxDelay", "jitter", "on")
CONCURRENCY_KEYS = ("key", "policy")
RESOURCE_KEYS = ("cpus", "memoryMb", "gpus")


def parse_pipeline(draft: Mapping[str, Any]) -> PipelineSpec:
    """The checked form of ``{name, description, config, stages: [...]}`` in camelCase.

    Raises ``InvalidInput`` with every problem found, each with the path to its field.
    """
    reader = Reader()
    reader.plain(draft, ())
    if reader.problems:
        raise InvalidInput(reader.problems)
    draft = reader.mapping(draft, (), DRAFT_KEYS)
    name = reader.text(draft.get("name"), ("name",))
    description = draft.get("description")
    if description is not None and not isinstance(description, str):
        reader.problem(("description",), no_text(description))
    raw_config = reader.mapping(draft.get("config"), ("config",), PIPELINE_KEYS, DRAFT_KEYS)
    config = _pipeline_config(reader, raw_config)
    stages = _stages(reader, draft.get("stages"))
    _check_cached_files(reader, config, stages)
    if reader.problems:
        raise InvalidInput(reader.problems)
    return PipelineSpec(name, description, raw_config, config, stages)


def _pipeline_config(reader: Reader, raw: Mapping[str, Any]) -> PipelineConfig:
    return PipelineConfig(
        workdir=reader.workdir(raw.get("workdir"), ("config", "workdir")),
        env=reader.env(raw.get("env"), ("config", "env")),
        params=reader.mapping(raw.get("params"), ("config", "params")),
        timeout_seconds=_timeout(reader, raw.get("timeout"), ("config", "timeout")),
        fail_fast=reader.flag(raw.get("failFast"), ("config", "failFast"), True),
        max_concurrent_stages=_limit(reader, raw, "maxConcurrentStages"),
        max_concurrent_runs=_limit(reader, raw, "maxConcurrentRuns"),
        concurrency=_concurrency(reader, raw.get("concurrency"), ("config", "concurrency")),
    )


def _concurrency(reader: Reader, value: Any, path: Path) -> Concurrency | None:
    if value is None:
        return None
    raw = reader.mapping(value, path, CONCURRENCY_KEYS)
    key, policy = raw.get("key"), raw.get("policy")
    if policy is None:
        policy = ConcurrencyPolicy.QUEUE
    if key is not None:
        key = reader.text(key, (*path, "key"))
    if policy not in list(ConcurrencyPolicy):
        reader.problem((*path, "policy"), f"{policy!r} is not one of {', '.join(ConcurrencyPolicy)}")
        return None
    return Concurrency(key, ConcurrencyPolicy(policy))


def _limit(reader: Reader, raw: Mapping[str, Any], key: str) -> int | None:
    return reader.whole(raw.get(key), ("config", key), low=1, high=10_000, default=0) or None


def _timeout(reader: Reader, value: Any, path: Path) -> float | None:
    return reader.number(value, path, low=0.1, high=TIMEOUT_LIMIT_SECONDS)


def _stages(reader: Reader, value: Any) -> tuple[StageSpec, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        reader.problem(("stages",), "must be a list of at least one stage")
        return ()
    if len(value) > STAGES_LIMIT:
        reader.problem(("stages",), f"has {len(value)} stages; the limit is {STAGES_LIMIT}")
        return ()
    drafts = [
        reader.mapping(item, ("stages", str(index)), STAGE_DRAFT_KEYS) for index, item in enumerate(value)
    ]
    orders = _orders(reader, drafts)
    stages = tuple(_stage(reader, draft, index, orders[index]) for index, draft in enumerate(drafts))
    _check_names(reader, stages)
    _check_dependencies(reader, stages)
    return stages


def _orders(reader: Reader, drafts: Sequence[Mapping[str, Any]]) -> list[int]:
    """The given orders; stages without one take the smallest free numbers in the order they are listed."""
    taken: dict[int, int] = {}
    orders: list[int | None] = []
    for index, draft in enumerate(drafts):
        path = ("stages", str(index), "order")
        given = draft.get("order")
        order = None if given is None else reader.whole(given, path, low=0, high=2**31 - 1, default=-1)
        orders.append(order)
        if order is None or order < 0:
            continue
        if order in taken:
            reader.problem(path, f"order {order} is already used by stages.{taken[order]}")
        taken.setdefault(order, index)
    free = (number for number in range(len(drafts) + len(taken)) if number not in taken)
    return [next(free) if order is None else order for order in orders]


def _stage(reader: Reader, draft: Mapping[str, Any], index: int, order: int) -> StageSpec:
    path = ("stages", str(index))
    stage_type = _stage_type(reader, draft.get("stageType"), (*path, "stageType"))
    custom_name = draft.get("customName")
    if custom_name is not None:
        custom_name = reader.text(custom_name, (*path, "customName"))
    elif stage_type is StageType.CUSTOM:
        reader.problem((*path, "customName"), "a CUSTOM stage needs a customName")
    raw_config = reader.mapping(draft.get("config"), (*path, "config"), STAGE_KEYS, STAGE_DRAFT_KEYS)
    return StageSpec(
        name=reader.file_name(draft.get("name"), (*path, "name")),
        stage_type=stage_type,
        custom_name=custom_name,
        order=order,
        dependencies=_names(reader, draft.get("dependencies"), (*path, "dependencies")),
        raw_config=raw_config,
        config=_stage_config(reader, raw_config, (*path, "config")),
    )


def _stage_type(reader: Reader, value: Any, path: Path) -> StageType:
    if value is None:
        reader.problem(path, f"is missing; one of {', '.join(StageType)}")
        return StageType.CLEANUP
    try:
        return StageType(value)
    except ValueError:
        meant = reader.meant(str(value).upper(), list(StageType))
        hint = f"; did you mean {meant}?" if meant else f"; one of {', '.join(StageType)}"
        reader.problem(path, f"{value!r} is not a stage type{hint}")
        return StageType.CLEANUP


def _names(reader: Reader, value: Any, path: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(v, str) for v in value)
    ):
        reader.problem(path, "must be a list of stage names")
        return ()
    return tuple(dict.fromkeys(value))


def _stage_config(reader: Reader, raw: Mapping[str, Any], path: Path) -> StageConfig:
    return StageConfig(
        command=_command(reader, raw.get("command"), (*path, "command")),
        env=reader.env(raw.get("env"), (*path, "env")),
        params=reader.mapping(raw.get("params"), (*path, "params")),
        timeout_seconds=_timeout(reader, raw.get("timeout"), (*path, "timeout")),
        retries=_retries(reader, raw.get("retries"), (*path, "retries")),
        resources=_resources(reader, raw.get("resources"), (*path, "resources")),
        allow_failure=reader.flag(raw.get("allowFailure"), (*path, "allowFailure"), False),
        executor=_executor(reader, raw.get("executor"), (*path, "executor")),
        workdir=reader.workdir(raw.get("workdir"), (*path, "workdir")),
        cache=read_cache_policy(reader, raw.get("cache"), (*path, "cache")),
    )


def _executor(reader: Reader, value: Any, path: Path) -> str:
    if value is None:
        return DEFAULT_EXECUTOR
    if value not in EXECUTORS:
        reader.problem(path, f"{value!r} is not one of {', '.join(EXECUTORS)}")
    return str(value)


def _command(reader: Reader, value: Any, path: Path) -> tuple[str, ...]:
    """An argv list; a plain text is a shell line (``sh -c``)."""
    if value is None:
        reader.problem(path, 'is missing: give the argv list of the stage, such as ["python", "train.py"]')
        return ()
    if isinstance(value, str):
        value = ["sh", "-c", value] if value.strip() else []
    if not isinstance(value, Sequence) or not value:
        reader.problem(path, 'must be a non-empty list of texts, such as ["python", "train.py"]')
        return ()
    if wrong := [(str(index), part) for index, part in enumerate(value) if not isinstance(part, str)]:
        for index, part in wrong:
            reader.problem((*path, index), no_text(part))
        return ()
    if not value[0].strip() or any("\0" in part for part in value):
        reader.problem(path, "must name a program and contain no NUL character")
    return tuple(value)


def _retries(reader: Reader, value: Any, path: Path) -> RetryPolicy:
    raw = reader.mapping(value, path, RETRY_KEYS)
    before = len(reader.problems)
    reader.whole(raw.get("limit"), (*path, "limit"), low=0, high=100, default=0)
    reader.number(raw.get("delay"), (*path, "delay"), low=0, high=86_400)
    reader.number(raw.get("factor"), (*path, "factor"), low=1, high=100)
    reader.number(raw.get("maxDelay"), (*path, "maxDelay"), low=0, high=86_400)
    reader.flag(raw.get("jitter"), (*path, "jitter"), True)
    for reason in _names(reader, raw.get("on"), (*path, "on")):
        if reason not in RETRYABLE:
            reader.problem((*path, "on"), f"{reason!r} is not one of {', '.join(sorted(RETRYABLE))}")
    given = {key: item for key, item in raw.items() if item is not None}
    return retry_from_json(given) if len(reader.problems) == before else RetryPolicy()


def _resources(reader: Reader, value: Any, path: Path) -> Resources:
    raw = reader.mapping(value, path, RESOURCE_KEYS)
    cpus = reader.number(raw.get("cpus"), (*path, "cpus"), low=0.01, high=4096, default=1.0)
    memory = reader.whole(raw.get("memoryMb"), (*path, "memoryMb"), low=16, high=2**31 - 1, default=0)
    _no_gpus(reader, raw.get("gpus"), (*path, "gpus"))
    return Resources(cpus=cpus or 1.0, memory_mb=memory or None)


def _no_gpus(reader: Reader, value: Any, path: Path) -> None:
    if isinstance(value, bool) or value not in (None, 0):
        reader.problem(path, "gpus can't be claimed yet: leave it out, or 0")


def _check_names(reader: Reader, stages: Iterable[StageSpec]) -> None:
    seen: dict[str, int] = {}
    for index, stage in enumerate(stages):
        folded = stage.name.casefold()
        if stage.name and folded in seen:
            reader.problem(
                ("stages", str(index), "name"), f"{stage.name!r} is already used by stages.{seen[folded]}"
            )
        seen.setdefault(folded, index)


def _check_dependencies(reader: Reader, stages: Sequence[StageSpec]) -> None:
    names = {stage.name for stage in stages}
    known: dict[str, list[str]] = {}
    for index, stage in enumerate(stages):
        path = ("stages", str(index), "dependencies")
        for other in stage.dependencies:
            if other == stage.name:
                reader.problem(path, f"stage {stage.name!r} depends on itself")
            elif other not in names and "" not in names:
                reader.problem(path, f"unknown stage {other!r}{_hint(reader, other, names)}")
        known[stage.name] = [name for name in stage.dependencies if name in names and name != stage.name]
    try:
        topological_order(known)
    except CycleFound as cycle:
        first = next(index for index, stage in enumerate(stages) if stage.name == cycle.path[0])
        reader.problem(
            ("stages", str(first), "dependencies"),
            f"the dependencies form a cycle: {cycle}",
        )


def _hint(reader: Reader, name: str, known: Collection[str]) -> str:
    meant = reader.meant(name, known)
    return f"; did you mean {meant!r}?" if meant else ""


def _check_cached_files(reader: Reader, pipeline: PipelineConfig, stages: Iterable[StageSpec]) -> None:
    for index, stage in enumerate(stages):
        config = stage.config
        if config.cache and config.cache.files and not (config.workdir or pipeline.workdir):
            reader.problem(
                ("stages", str(index), "config", "cache", "files"),
                "are relative to the working folder: set workdir of the stage or the pipeline",
            )


def parse_run_config(value: Any, stage_names: Collection[str]) -> RunConfig:
    """The checked form of ``startRun``'s ``runConfig`` for a pipeline with these stages."""
    reader = Reader()
    root: Path = ("runConfig",)
    reader.plain(value, root)
    if reader.problems:
        raise InvalidInput(reader.problems)
    raw = reader.mapping(value, root, RUN_KEYS)
    fail_fast = raw.get("failFast")
    config = RunConfig(
        params=reader.mapping(raw.get("params"), (*root, "params")),
        stage_params=_stage_params(reader, raw.get("stages"), (*root, "stages"), stage_names),
        timeout_seconds=_timeout(reader, raw.get("timeout"), (*root, "timeout")),
        fail_fast=None if fail_fast is None else reader.flag(fail_fast, (*root, "failFast"), True),
        queue_timeout_seconds=_timeout(reader, raw.get("queueTimeout"), (*root, "queueTimeout")),
        priority=reader.whole(raw.get("priority"), (*root, "priority"), low=-100, high=100, default=0),
        use_cache=reader.flag(raw.get("cache"), (*root, "cache"), True),
    )
    if reader.problems:
        raise InvalidInput(reader.problems)
    return config


def _stage_params(
    reader: Reader, value: Any, path: Path, stage_names: Collection[str]
) -> dict[str, Mapping[str, Any]]:
    known = frozenset(stage_names)
    found = {}
    for name, item in reader.mapping(value, path).items():
        if name not in known:
            hint = _hint(reader, name, known)
            reader.problem((*path, name), f"the pipeline has no stage of this name{hint}")
        params = reader.mapping(item, (*path, name), ("params",)).get("params")
        found[name] = reader.mapping(params, (*path, name, "params"))
    return found
