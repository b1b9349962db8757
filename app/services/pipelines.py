"""Register, change and delete pipelines."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.columns import new_id
from app.database.tables import pipeline_runs, pipeline_stages, pipelines, stage_runs
from app.domain.input.pipelines import parse_pipeline
from app.domain.moves import RUN_ACTIVE, RUN_FINAL
from app.domain.specs import PipelineSpec, StageSpec
from app.errors import DomainError, ErrorCode, NotFound
from app.notifications.notifier import Notifier
from app.notifications.topics import RUNS
from app.services.registry.deletions import refuse_registered


async def create_pipeline(engine: AsyncEngine, draft: Mapping[str, Any]) -> uuid.UUID:
    """Stores a new pipeline; ``InvalidInput`` names every problem of the draft."""
    spec = parse_pipeline(draft)
    pipeline_id = new_id()
    async with engine.begin() as connection:
        await connection.execute(sa.insert(pipelines).values(id=pipeline_id, **_pipeline_row(spec)))
        await _insert_stages(connection, pipeline_id, spec.stages)
    return pipeline_id


async def update_pipeline(engine: AsyncEngine, pipeline_id: uuid.UUID, changes: Mapping[str, Any]) -> None:
    """Changes the keys that are present; ``stages`` replaces the list, matched by name.

    A removed stage that runs refer to stays as an inactive one, so that their history stays complete.
    """
    async with engine.begin() as connection:
        current = await load_pipeline(connection, pipeline_id, exclusively=True)
        spec = parse_pipeline({**current.draft, **changes})
        await connection.execute(
            sa.update(pipelines).where(pipelines.c.id == pipeline_id).values(**_pipeline_row(spec))
        )
        if "stages" in changes:
            await _replace_stages(connection, pipeline_id, current.stage_ids, spec.stages)


async def delete_pipeline(
    engine: AsyncEngine, notifier: Notifier, pipeline_id: uuid.UUID, *, delete_runs: bool = False
) -> None:
    """Removes a pipeline; its runs go with it only if asked.

    ``PIPELINE_IN_USE`` while a run of it is active, or has a model that is a version of a registered model.
    """
    async with engine.begin() as connection:
        if delete_runs:
            await _lock_ended_runs(connection, pipeline_id)
        if await hold_pipeline(connection, pipeline_id, exclusively=True) is None:
            raise no_pipeline(pipeline_id)
        active = pipeline_runs.c.status.in_(RUN_ACTIVE)
        statement = sa.select(sa.func.count(), sa.func.count().filter(active).label("active")).where(
            pipeline_runs.c.pipeline_id == pipeline_id
        )
        runs, active_runs = (await connection.execute(statement)).one()
        if active_runs:
            raise _in_use(f"{active_runs} of its runs are active; cancel them first")
        if runs and not delete_runs:
            raise _in_use(f"it has {runs} runs; pass deleteRuns: true to delete them and their artifacts too")
        of_pipeline = pipeline_runs.c.pipeline_id == pipeline_id
        await refuse_registered(connection, of_pipeline, "pipelineId", ErrorCode.PIPELINE_IN_USE)
        await connection.execute(sa.delete(pipelines).where(pipelines.c.id == pipeline_id))
    notifier.publish(RUNS)


async def _lock_ended_runs(connection: AsyncConnection, pipeline_id: uuid.UUID) -> None:
    """Locks runs before their pipeline, in the order ``delete_run`` does; active runs forbid the deletion anyway."""
    ended = sa.select(pipeline_runs.c.id).where(
        pipeline_runs.c.pipeline_id == pipeline_id, pipeline_runs.c.status.in_(RUN_FINAL)
    )
    await connection.execute(ended.order_by(pipeline_runs.c.id).with_for_update())


def _in_use(why: str) -> DomainError:
    return DomainError(
        f"the pipeline can't be deleted: {why}", path=("pipelineId",), code=ErrorCode.PIPELINE_IN_USE
    )


@dataclass(frozen=True)
class StoredPipeline:
    """A pipeline as it is defined now: ``draft`` is in the shape ``parse_pipeline`` reads."""

    draft: dict[str, Any]
    stage_ids: dict[str, uuid.UUID]


async def hold_pipeline(
    connection: AsyncConnection, pipeline_id: uuid.UUID, *, exclusively: bool = False
) -> sa.Row[Any] | None:
    """The row of the pipeline, if it exists. Until the commit no other transaction changes its keys or deletes it.

    ``exclusively``: no other transaction starts a run of it either.
    """
    columns: list[sa.Column[Any]] = [pipelines.c.name, pipelines.c.description, pipelines.c.config]
    statement = sa.select(*columns).where(pipelines.c.id == pipeline_id)
    locked = statement.with_for_update(read=not exclusively, key_share=not exclusively)
    return (await connection.execute(locked)).one_or_none()


def no_pipeline(pipeline_id: uuid.UUID) -> NotFound:
    return NotFound(f"there is no pipeline {pipeline_id}", path=("pipelineId",))


async def load_pipeline(
    connection: AsyncConnection, pipeline_id: uuid.UUID, *, exclusively: bool = False
) -> StoredPipeline:
    """The pipeline with its stages, held as by ``hold_pipeline``; ``NotFound`` if it does not exist."""
    row = await hold_pipeline(connection, pipeline_id, exclusively=exclusively)
    if row is None:
        raise no_pipeline(pipeline_id)
    stages = await active_stages(connection, pipeline_id)
    draft = {
        "name": row.name,
        "description": row.description,
        "config": row.config,
        "stages": [_draft_of(stage) for stage in stages],
    }
    return StoredPipeline(draft, {stage.name: stage.id for stage in stages})


def _draft_of(stage: sa.Row[Any]) -> dict[str, Any]:
    return {
        "name": stage.name,
        "stageType": stage.stage_type.value,
        "customName": stage.custom_name,
        "order": stage.order,
        "dependencies": stage.dependencies,
        "config": stage.config,
    }


async def active_stages(connection: AsyncConnection, pipeline_id: uuid.UUID) -> Sequence[sa.Row[Any]]:
    """The stages of the pipeline as it is now, in their order."""
    statement = (
        sa.select(pipeline_stages)
        .where(pipeline_stages.c.pipeline_id == pipeline_id, pipeline_stages.c.is_active)
        .order_by(pipeline_stages.c.order)
    )
    return (await connection.execute(statement)).all()


def _pipeline_row(spec: PipelineSpec) -> dict[str, Any]:
    return {"name": spec.name, "description": spec.description, "config": dict(spec.raw_config) or None}


def _stage_row(pipeline_id: uuid.UUID, stage: StageSpec) -> dict[str, Any]:
    return {
        "pipeline_id": pipeline_id,
        "name": stage.name,
        "stage_type": stage.stage_type,
        "custom_name": stage.custom_name,
        "order": stage.order,
        "config": dict(stage.raw_config),
        "dependencies": list(stage.dependencies),
        "is_active": True,
    }


async def _insert_stages(
    connection: AsyncConnection, pipeline_id: uuid.UUID, stages: Iterable[StageSpec]
) -> None:
    rows = [_stage_row(pipeline_id, stage) for stage in stages]
    if rows:
        await connection.execute(sa.insert(pipeline_stages), rows)


async def _replace_stages(
    connection: AsyncConnection,
    pipeline_id: uuid.UUID,
    present: Mapping[str, uuid.UUID],
    stages: Sequence[StageSpec],
) -> None:
    """``present``: ids of the present stages by name."""
    rows = [
        {"present_id": present[stage.name], **_stage_row(pipeline_id, stage)}
        for stage in stages
        if stage.name in present
    ]
    if rows:
        statement = sa.update(pipeline_stages).where(pipeline_stages.c.id == sa.bindparam("present_id"))
        await connection.execute(statement, rows)
    await _insert_stages(connection, pipeline_id, [stage for stage in stages if stage.name not in present])
    names = {stage.name for stage in stages}
    await _retire_stages(connection, [stage_id for name, stage_id in present.items() if name not in names])


async def _retire_stages(connection: AsyncConnection, stage_ids: Sequence[uuid.UUID]) -> None:
    used = sa.exists(sa.select(sa.literal(1)).where(stage_runs.c.stage_id == pipeline_stages.c.id))
    retired = pipeline_stages.c.id.in_(stage_ids)
    await connection.execute(sa.delete(pipeline_stages).where(retired, ~used))
    await connection.execute(sa.update(pipeline_stages).where(retired).values(is_active=False))
