"""Reads the pipelines and run configurations that users write; all problems are reported at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from app.domain.checker import Checker, Path, no_text
from app.domain.keys import keys_of, read_keys
from app.domain.plan import CycleFound, topological_order
from app.domain.specs import (
    DRAFT_KEYS,
    STAGE_DRAFT_KEYS,
    PipelineConfig,
    PipelineSpec,
    RunConfig,
    StageConfig,
    StageSpec,
)
from app.domain.vocabulary import StageType
from app.errors import InvalidInput

STAGES_LIMIT = 10_000


def parse_pipeline(draft: Mapping[str, Any]) -> PipelineSpec:
    """The checked form of ``{name, description, config, stages: [...]}`` in camelCase.

    Raises ``InvalidInput`` with every problem found, each with the path to its field.
    """
    checker = Checker()
    checker.storable(draft, ())
    if checker.problems:
        raise InvalidInput(checker.problems)
    draft = checker.mapping(draft, (), DRAFT_KEYS)
    name = checker.text(draft.get("name"), ("name",))
    description = draft.get("description")
    if description is not None and not isinstance(description, str):
        checker.problem(("description",), no_text(description))
    raw_config = checker.mapping(draft.get("config"), ("config",), keys_of(PipelineConfig), DRAFT_KEYS)
    config = read_keys(checker, PipelineConfig, raw_config, ("config",))
    stages = _stages(checker, draft.get("stages"))
    _check_cached_files(checker, config, stages)
    if checker.problems:
        raise InvalidInput(checker.problems)
    return PipelineSpec(name, description, raw_config, config, stages)


def _stages(checker: Checker, value: Any) -> tuple[StageSpec, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        checker.problem(("stages",), "must be a list of at least one stage")
        return ()
    if len(value) > STAGES_LIMIT:
        checker.problem(("stages",), f"has {len(value)} stages; the limit is {STAGES_LIMIT}")
        return ()
    drafts = [
        checker.mapping(item, ("stages", str(index)), STAGE_DRAFT_KEYS) for index, item in enumerate(value)
    ]
    orders = _orders(checker, drafts)
    stages = tuple(_stage(checker, draft, index, orders[index]) for index, draft in enumerate(drafts))
    _check_names(checker, stages)
    _check_dependencies(checker, stages)
    return stages


def _orders(checker: Checker, drafts: Sequence[Mapping[str, Any]]) -> list[int]:
    """The given orders; stages without one get the smallest free numbers, in the order in which they are listed."""
    taken: dict[int, int] = {}
    orders: list[int | None] = []
    for index, draft in enumerate(drafts):
        path = ("stages", str(index), "order")
        given = draft.get("order")
        before = len(checker.problems)
        order = None if given is None else checker.whole(given, path, low=0, high=2**31 - 1)
        orders.append(order)
        if order is None or len(checker.problems) > before:
            continue
        if order in taken:
            checker.problem(path, f"order {order} is already used by stages.{taken[order]}")
        taken.setdefault(order, index)
    free = (number for number in range(len(drafts) + len(taken)) if number not in taken)
    return [next(free) if order is None else order for order in orders]


def _stage(checker: Checker, draft: Mapping[str, Any], index: int, order: int) -> StageSpec:
    path = ("stages", str(index))
    stage_type = _stage_type(checker, draft.get("stageType"), (*path, "stageType"))
    custom_name = draft.get("customName")
    if custom_name is not None:
        custom_name = checker.text(custom_name, (*path, "customName"))
    elif stage_type is StageType.CUSTOM:
        checker.problem((*path, "customName"), "a CUSTOM stage needs a customName")
    config_path = (*path, "config")
    raw_config = checker.mapping(draft.get("config"), config_path, keys_of(StageConfig), STAGE_DRAFT_KEYS)
    return StageSpec(
        name=checker.file_name(draft.get("name"), (*path, "name")),
        stage_type=stage_type,
        custom_name=custom_name,
        order=order,
        dependencies=_dependencies(checker, draft.get("dependencies"), (*path, "dependencies")),
        raw_config=raw_config,
        config=read_keys(checker, StageConfig, raw_config, config_path),
    )


def _stage_type(checker: Checker, value: Any, path: Path) -> StageType:
    if value is None:
        checker.problem(path, f"is missing; one of {', '.join(StageType)}")
        return StageType.CLEANUP
    try:
        return StageType(value)
    except ValueError:
        meant = checker.meant(str(value).upper(), list(StageType))
        hint = f"; did you mean {meant}?" if meant else f"; one of {', '.join(StageType)}"
        checker.problem(path, f"{value!r} is not a stage type{hint}")
        return StageType.CLEANUP


def _dependencies(checker: Checker, value: Any, path: Path) -> tuple[str, ...]:
    return () if value is None else checker.texts(value, path, of="stage names")


def _check_names(checker: Checker, stages: Iterable[StageSpec]) -> None:
    seen: dict[str, int] = {}
    for index, stage in enumerate(stages):
        folded = stage.name.casefold()
        if stage.name and folded in seen:
            checker.problem(
                ("stages", str(index), "name"), f"{stage.name!r} is already used by stages.{seen[folded]}"
            )
        seen.setdefault(folded, index)


def _check_dependencies(checker: Checker, stages: Sequence[StageSpec]) -> None:
    names = {stage.name for stage in stages}
    known: dict[str, list[str]] = {}
    for index, stage in enumerate(stages):
        path = ("stages", str(index), "dependencies")
        for other in stage.dependencies:
            if other == stage.name:
                checker.problem(path, f"stage {stage.name!r} depends on itself")
            elif other not in names and "" not in names:
                checker.problem(path, f"unknown stage {other!r}{_hint(checker, other, names)}")
        known[stage.name] = [name for name in stage.dependencies if name in names and name != stage.name]
    try:
        topological_order(known)
    except CycleFound as cycle:
        first = next(index for index, stage in enumerate(stages) if stage.name == cycle.path[0])
        checker.problem(
            ("stages", str(first), "dependencies"),
            f"the dependencies form a cycle: {cycle}",
        )


def _hint(checker: Checker, name: str, known: Collection[str]) -> str:
    meant = checker.meant(name, known)
    return f"; did you mean {meant!r}?" if meant else ""


def _check_cached_files(checker: Checker, pipeline: PipelineConfig, stages: Iterable[StageSpec]) -> None:
    for index, stage in enumerate(stages):
        config = stage.config
        if config.cache and config.cache.files and not (config.workdir or pipeline.workdir):
            checker.problem(
                ("stages", str(index), "config", "cache", "files"),
                "are relative to the working folder: set workdir of the stage or the pipeline",
            )


def parse_run_config(value: Any, stage_names: Collection[str]) -> RunConfig:
    """The checked form of ``startRun``'s ``runConfig`` for a pipeline with these stages."""
    checker = Checker()
    root: Path = ("runConfig",)
    checker.storable(value, root)
    if checker.problems:
        raise InvalidInput(checker.problems)
    raw = checker.mapping(value, root, keys_of(RunConfig))
    _check_stage_names(checker, raw.get("stages"), (*root, "stages"), frozenset(stage_names))
    config = read_keys(checker, RunConfig, raw, root)
    if checker.problems:
        raise InvalidInput(checker.problems)
    return config


def _check_stage_names(checker: Checker, stages: Any, path: Path, known: frozenset[str]) -> None:
    if not isinstance(stages, Mapping):
        return
    for name in stages:
        if name not in known:
            hint = _hint(checker, name, known)
            checker.problem((*path, name), f"the pipeline has no stage of this name{hint}")
