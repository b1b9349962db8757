"""Register, change and delete pipelines."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.columns import new_id
from app.database.tables import pipeline_runs, pipeline_stages, pipelines, stage_runs
from app.domain.input.pipelines import parse_pipeline
from app.domain.moves import RUN_FINAL
from app.domain.specs import PipelineSpec, StageSpec
from app.domain.vocabulary import RunStatus
from app.errors import DomainError, ErrorCode, NotFound
from app.notifications.notifier import Notifier
from app.notifications.topics import RUNS


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

    A removed stage that runs refer to is kept inactive, so that history stays whole.
    """
    async with engine.begin() as connection:
        current = await load_draft(connection, pipeline_id, lock=True)
        spec = parse_pipeline({**current, **changes})
        await connection.execute(
            sa.update(pipelines).where(pipelines.c.id == pipeline_id).values(**_pipeline_row(spec))
        )
        if "stages" in changes:
            await _replace_stages(connection, pipeline_id, spec.stages)


async def delete_pipeline(
    engine: AsyncEngine, notifier: Notifier, pipeline_id: uuid.UUID, *, delete_runs: bool = False
) -> None:
    """Removes a pipeline; its runs go with it only if asked, and never while one of them is active."""
    async with engine.begin() as connection:
        if delete_runs:
            await _lock_ended_runs(connection, pipeline_id)
        await load_draft(connection, pipeline_id, lock=True)
        active = RunStatus.PENDING, RunStatus.RUNNING
        statement = sa.select(
            sa.func.count(), sa.func.count().filter(pipeline_runs.c.status.in_(active)).label("active")
        ).where(pipeline_runs.c.pipeline_id == pipeline_id)
        runs, active_runs = (await connection.execute(statement)).one()
        if active_runs:
            raise _in_use(f"{active_runs} of its runs are active; cancel them first")
        if runs and not delete_runs:
            raise _in_use(f"it has {runs} runs; pass deleteRuns: true to delete them and their artifacts too")
        await connection.execute(sa.delete(pipelines).where(pipelines.c.id == pipeline_id))
    notifier.publish(RUNS)


async def _lock_ended_runs(connection: AsyncConnection, pipeline_id: uuid.UUID) -> None:
    """Before the pipeline, as whoever deletes one of them does; those that are active forbid the deletion."""
    ended = sa.select(pipeline_runs.c.id).where(
        pipeline_runs.c.pipeline_id == pipeline_id, pipeline_runs.c.status.in_(RUN_FINAL)
    )
    await connection.execute(ended.order_by(pipeline_runs.c.id).with_for_update())


def _in_use(why: str) -> DomainError:
    return DomainError(
        f"the pipeline can't be deleted: {why}", path=("pipelineId",), code=ErrorCode.PIPELINE_IN_USE
    )


async def is_kept(connection: AsyncConnection, pipeline_id: uuid.UUID) -> bool:
    """Whether the pipeline is there, and then stays until the commit."""
    statement = sa.select(pipelines.c.id).where(pipelines.c.id == pipeline_id)
    locked = statement.with_for_update(read=True, key_share=True)
    return (await connection.execute(locked)).one_or_none() is not None


async def load_draft(
    connection: AsyncConnection, pipeline_id: uuid.UUID, *, lock: bool = False
) -> dict[str, Any]:
    """A stored pipeline in the shape ``parse_pipeline`` reads.

    Until the commit nobody changes or deletes it; with ``lock`` nobody starts a run of it either.
    """
    columns = (pipelines.c.name, pipelines.c.description, pipelines.c.config)
    statement = sa.select(*columns).where(pipelines.c.id == pipeline_id)
    statement = statement.with_for_update(read=not lock, key_share=not lock)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise NotFound(f"there is no pipeline {pipeline_id}", path=("pipelineId",))
    stages = await active_stages(connection, pipeline_id)
    return {
        "name": row.name,
        "description": row.description,
        "config": row.config,
        "stages": [
            {
                "name": stage.name,
                "stageType": stage.stage_type.value,
                "customName": stage.custom_name,
                "order": stage.order,
                "dependencies": stage.dependencies,
                "config": stage.config,
            }
            for stage in stages
        ],
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
    connection: AsyncConnection, pipeline_id: uuid.UUID, stages: Sequence[StageSpec]
) -> None:
    kept = {stage.name: stage.id for stage in await active_stages(connection, pipeline_id)}
    rows = [
        {"kept_id": kept[stage.name], **_stage_row(pipeline_id, stage)}
        for stage in stages
        if stage.name in kept
    ]
    if rows:
        statement = sa.update(pipeline_stages).where(pipeline_stages.c.id == sa.bindparam("kept_id"))
        await connection.execute(statement, rows)
    await _insert_stages(connection, pipeline_id, [stage for stage in stages if stage.name not in kept])
    names = {stage.name for stage in stages}
    await _retire_stages(connection, [stage_id for name, stage_id in kept.items() if name not in names])


async def _retire_stages(connection: AsyncConnection, stage_ids: Sequence[uuid.UUID]) -> None:
    used = sa.exists(sa.select(sa.literal(1)).where(stage_runs.c.stage_id == pipeline_stages.c.id))
    retired = pipeline_stages.c.id.in_(stage_ids)
    await connection.execute(sa.delete(pipeline_stages).where(retired, ~used))
    await connection.execute(sa.update(pipeline_stages).where(retired).values(is_active=False))
