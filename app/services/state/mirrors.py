"""Pipeline and stage rows show the outcome of the pipeline's latest run, as the seed's columns say.

The caller holds the lock on the pipeline's row. So the statements below see every newer run that was copied before,
and the order of locks on stage rows does not matter: they change under this lock only.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.tables import pipeline_runs, pipeline_stages, pipelines, stage_runs
from app.domain.artifacts import OUTPUTS_PATH
from app.domain.vocabulary import RunStatus, StageStatus

_NOT_BEGUN: dict[str, Any] = {"started_at": None, "completed_at": None, "execution_time": None}
_NO_RUN: dict[str, Any] = {**_NOT_BEGUN, "memory_usage": None, "cpu_usage": None}
_NO_STAGE_RUN: dict[str, Any] = {**_NOT_BEGUN, "metrics": None, "logs": None, "output_path": None}

MANY = 100
_PLAN_FOR_MANY = sa.select(
    sa.func.set_config("enable_nestloop", "off", True),
    sa.func.set_config("plan_cache_mode", "force_custom_plan", True),
)


@cache
def _no_newer_run() -> sa.ColumnElement[bool]:
    newer = pipeline_runs.alias("newer")
    found = sa.select(sa.literal(1)).where(
        newer.c.pipeline_id == pipeline_runs.c.pipeline_id, newer.c.id > pipeline_runs.c.id
    )
    return ~sa.exists(found.correlate(pipeline_runs))


async def lock_pipeline(connection: AsyncConnection, pipeline_id: uuid.UUID) -> None:
    """Holds the pipeline's row until the commit; runs that refer to it may still be inserted."""
    statement = sa.select(pipelines.c.id).where(pipelines.c.id == pipeline_id)
    await connection.execute(statement.with_for_update(key_share=True))


async def mirror_run(connection: AsyncConnection, run_id: uuid.UUID) -> None:
    """Copies a run's outcome to its pipeline, unless a newer run exists."""
    await connection.execute(_mirrored_run(), {"run_id": run_id})


@cache
def _mirrored_run() -> sa.Update:
    runs = pipeline_runs.c
    return (
        sa.update(pipelines)
        .where(runs.id == sa.bindparam("run_id"), pipelines.c.id == runs.pipeline_id, _no_newer_run())
        .values(
            status=runs.status,
            started_at=runs.started_at,
            completed_at=runs.completed_at,
            execution_time=runs.execution_time,
            memory_usage=runs.max_memory_usage,
            cpu_usage=runs.max_cpu_usage,
        )
    )


async def mirror_stages(connection: AsyncConnection, stage_run_ids: Collection[uuid.UUID]) -> None:
    """Copies stage runs' outcomes to their stages, unless the pipeline has a newer run."""
    if len(stage_run_ids) > MANY:
        # Rows written a moment ago are not in the planner's statistics: it would compare all pairs of them. So would
        # a cached plan of this statement from when it had few rows to change.
        await connection.execute(_PLAN_FOR_MANY)
    await connection.execute(_mirrored_stages(), {"stage_run_ids": list(stage_run_ids)})


@cache
def _mirrored_stages() -> sa.Update:
    source = stage_runs.c
    return (
        sa.update(pipeline_stages)
        .where(
            source.id == sa.any_(sa.bindparam("stage_run_ids", type_=sa.ARRAY(sa.Uuid))),
            pipeline_stages.c.id == source.stage_id,
            pipeline_runs.c.id == source.pipeline_run_id,
            _no_newer_run(),
        )
        .values(
            status=source.status,
            started_at=source.started_at,
            completed_at=source.completed_at,
            execution_time=source.execution_time,
            metrics=source.metrics,
            logs=source.logs,
            output_path=sa.case(
                (source.status == StageStatus.COMPLETED, sa.func.format(OUTPUTS_PATH, source.id))
            ),
        )
    )


async def mirror_latest_run(
    connection: AsyncConnection, pipeline_id: uuid.UUID, stage_ids: Collection[uuid.UUID]
) -> None:
    """Copies the run that is the newest now, after one with these stages was deleted; without any run, all is reset."""
    await connection.execute(
        sa.update(pipelines).where(pipelines.c.id == pipeline_id).values(status=RunStatus.PENDING, **_NO_RUN)
    )
    await connection.execute(
        sa.update(pipeline_stages)
        .where(pipeline_stages.c.id == sa.any_(sa.literal(list(stage_ids), sa.ARRAY(sa.Uuid))))
        .values(status=StageStatus.PENDING, **_NO_STAGE_RUN)
    )
    runs = pipeline_runs.c
    latest = sa.select(runs.id).where(runs.pipeline_id == pipeline_id).order_by(runs.id.desc()).limit(1)
    run_id = (await connection.execute(latest)).scalar_one_or_none()
    if run_id is not None:
        await mirror_run(connection, run_id)
        of_run = sa.select(stage_runs.c.id).where(stage_runs.c.pipeline_run_id == run_id)
        await mirror_stages(connection, list((await connection.execute(of_run)).scalars()))
