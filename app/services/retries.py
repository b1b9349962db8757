"""Retries: a new run with the definition of an ended one, and with its results where they can be reused."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.tables import pipeline_runs, stage_runs
from app.domain.input.pipelines import parse_pipeline
from app.domain.moves import RUN_FINAL
from app.domain.plan import topological_order
from app.domain.specs import PipelineSpec
from app.domain.vocabulary import StageStatus, TriggerType
from app.errors import DomainError, ErrorCode, NotFound
from app.notifications.notifier import Notifier
from app.services.checks import problems_at
from app.services.pipelines import active_stages, hold_pipeline
from app.services.runs import StartRun, check_key, queue_once, queue_spec, run_of_key


async def retry_run(
    engine: AsyncEngine,
    notifier: Notifier,
    run_id: uuid.UUID,
    from_failed: bool,
    idempotency_key: str | None = None,
    trigger_type: TriggerType = TriggerType.API,
) -> uuid.UUID:
    """Starts a new run with the definition of an ended one; the same idempotency key returns the same new run.

    With ``from_failed`` the new run reuses the results of stages that completed; the others and all that depend on
    them are executed. The pipeline must still have the stages of the ended run. ``trigger_type`` is the retry's own;
    ``triggered_by``, the environment, the tags and the notes are those of the ended run.
    """
    check_key(idempotency_key)
    known = partial(run_of_key, engine, idempotency_key, retry_of_id=run_id)
    queue = partial(
        _queue_retry,
        run_id=run_id,
        from_failed=from_failed,
        idempotency_key=idempotency_key,
        trigger_type=trigger_type,
    )
    return await queue_once(engine, notifier, known, queue)


async def _queue_retry(
    connection: AsyncConnection,
    *,
    run_id: uuid.UUID,
    from_failed: bool,
    idempotency_key: str | None,
    trigger_type: TriggerType,
) -> uuid.UUID:
    run = await _ended_run(connection, run_id)
    with problems_at("runId"):
        spec = parse_pipeline(run.definition)
    stage_ids = await _ids_of_stages(connection, run.pipeline_id, spec)
    reused = _reusable(spec, await _completed_stages(connection, run_id)) if from_failed else {}
    if from_failed and len(reused) == len(spec.stages):
        raise DomainError(
            "every stage of the run completed: there is nothing to retry; leave out fromFailed to run all again",
            path=("runId",),
            code=ErrorCode.NOT_RETRYABLE,
        )
    request = StartRun(
        pipeline_id=run.pipeline_id,
        run_config=run.run_config,
        environment=run.environment,
        triggered_by=run.triggered_by,
        tags=run.tags or (),
        notes=run.notes,
        idempotency_key=idempotency_key,
        trigger_type=trigger_type,
    )
    with problems_at("runId"):
        return await queue_spec(connection, request, spec, stage_ids, retry_of_id=run_id, reused=reused)


async def _ended_run(connection: AsyncConnection, run_id: uuid.UUID) -> sa.Row[Any]:
    """The run, locked against deletion; it is locked before its pipeline, in the order ``delete_run`` does."""
    statement = sa.select(pipeline_runs).where(pipeline_runs.c.id == run_id)
    run = (await connection.execute(statement.with_for_update(read=True, key_share=True))).one_or_none()
    if run is None or not await hold_pipeline(connection, run.pipeline_id):
        raise NotFound(f"there is no run {run_id}", path=("runId",))
    if run.status not in RUN_FINAL:
        raise DomainError(
            f"the run is still {run.status}; cancel it first", path=("runId",), code=ErrorCode.NOT_RETRYABLE
        )
    return run


async def _ids_of_stages(
    connection: AsyncConnection, pipeline_id: uuid.UUID, spec: PipelineSpec
) -> dict[str, uuid.UUID]:
    """Ids of the pipeline's stages by name; ``NOT_RETRYABLE`` if one of the definition's stages is missing."""
    stage_ids = {row.name: row.id for row in await active_stages(connection, pipeline_id)}
    gone = [stage.name for stage in spec.stages if stage.name not in stage_ids]
    if gone:
        raise DomainError(
            f"the pipeline no longer has the stages {', '.join(gone)}; start a new run instead",
            path=("runId",),
            code=ErrorCode.NOT_RETRYABLE,
        )
    return stage_ids


def _reusable(spec: PipelineSpec, completed: Mapping[str, sa.Row[Any]]) -> dict[str, sa.Row[Any]]:
    """Completed stages whose inputs stay what they were: nothing they depend on is executed again."""
    found: dict[str, sa.Row[Any]] = {}
    needs = {stage.name: stage.dependencies for stage in spec.stages}
    for name in topological_order(needs):
        if name in completed and all(other in found for other in needs[name]):
            found[name] = completed[name]
    return found


async def _completed_stages(connection: AsyncConnection, run_id: uuid.UUID) -> dict[str, sa.Row[Any]]:
    statement = sa.select(stage_runs).where(
        stage_runs.c.pipeline_run_id == run_id, stage_runs.c.status == StageStatus.COMPLETED
    )
    return {row.name: row for row in await connection.execute(statement)}
