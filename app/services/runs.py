"""Start, cancel and retry runs. Nothing is executed here: a worker claims the rows."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.tables import pipeline_runs, stage_runs
from app.domain.input.pipelines import parse_pipeline, parse_run_config
from app.domain.moves import RUN_FINAL
from app.domain.plan import topological_order
from app.domain.specs import PipelineSpec, RunConfig, definition_of
from app.domain.vocabulary import StageStatus, TriggerType
from app.errors import Conflict, DomainError, ErrorCode, InvalidInput, NotFound
from app.notifications.notifier import Notifier
from app.notifications.topics import RUNS, WORK, run_topic
from app.services import concurrency
from app.services.checks import check_all, check_tags, check_text, problems_at, problems_of, refuse
from app.services.pipelines import active_stages, hold_pipeline, load_pipeline
from app.services.state import stop_requests
from app.services.state.new_runs import insert_run

NOTES_LIMIT = 100_000
KEY_LIMIT = 255


@dataclass(frozen=True)
class StartRun:
    """A request to run a pipeline as it is defined now."""

    pipeline_id: uuid.UUID
    run_config: Any = None
    environment: str | None = None
    triggered_by: str | None = None
    tags: Sequence[str] = ()
    notes: str | None = None
    idempotency_key: str | None = None
    trigger_type: TriggerType = TriggerType.API


async def start_run(engine: AsyncEngine, notifier: Notifier, request: StartRun) -> uuid.UUID:
    """Queues a run and returns its id; a request with the same idempotency key returns the same run."""
    problems = problems_of(partial(_check, request))
    key = None if problems else request.idempotency_key
    known = partial(_run_of_key, engine, key, pipeline_id=request.pipeline_id, retry_of_id=None)
    return await _queue_once(
        engine, notifier, known, lambda connection: queue_run(connection, request, problems)
    )


async def queue_run(
    connection: AsyncConnection, request: StartRun, problems: Sequence[DomainError] = ()
) -> uuid.UUID:
    """Queues a run in the caller's transaction; after the commit, the caller publishes ``queued_topics``.

    Its idempotency key is new. ``problems`` of its texts are reported together with those found here.
    """
    pipeline = await load_pipeline(connection, request.pipeline_id)
    with problems_at("pipelineId"):
        spec = parse_pipeline(pipeline.draft)
    return await _queue(connection, request, spec, pipeline.stage_ids, problems=problems)


def queued_topics(run_id: uuid.UUID) -> tuple[str, ...]:
    """Topics to notify after the commit that queued the run."""
    return run_topic(run_id), RUNS, WORK


def _check(request: StartRun) -> None:
    check_all(
        partial(check_text, "environment", request.environment, 50),
        partial(check_text, "triggeredBy", request.triggered_by, 255),
        partial(_check_key, request.idempotency_key),
        partial(check_text, "notes", request.notes, NOTES_LIMIT),
        partial(check_tags, request.tags),
    )


def _check_key(key: str | None) -> None:
    check_text("idempotencyKey", key, KEY_LIMIT)
    if key == "":
        raise DomainError("idempotencyKey: must not be empty; leave it out", path=("idempotencyKey",))


async def _queue_once(
    engine: AsyncEngine,
    notifier: Notifier,
    known: Callable[[], Awaitable[uuid.UUID | None]],
    queue: Callable[[AsyncConnection], Awaitable[uuid.UUID]],
) -> uuid.UUID:
    """The run that is ``known`` already, even if another request has just made it, or else a new one."""
    run_id = await known()
    if run_id is not None:
        return run_id
    try:
        async with engine.begin() as connection:
            run_id = await queue(connection)
    except (IntegrityError, Conflict):
        run_id = await known()
        if run_id is None:
            raise
        return run_id
    notifier.publish(*queued_topics(run_id))
    return run_id


async def _run_of_key(engine: AsyncEngine, key: str | None, **expected: uuid.UUID | None) -> uuid.UUID | None:
    """The run that was started with the key; ``CONFLICT`` if the key was used for something else."""
    if key is None:
        return None
    columns = pipeline_runs.c["id", "pipeline_id", "retry_of_id"]
    statement = sa.select(*columns).where(pipeline_runs.c.idempotency_key == key)
    async with engine.connect() as connection:
        row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    if any(getattr(row, name) != value for name, value in expected.items()):
        raise Conflict(
            f"idempotencyKey: it was used for something else, run {row.id}", path=("idempotencyKey",)
        )
    run_id: uuid.UUID = row.id
    return run_id


async def _queue(
    connection: AsyncConnection,
    request: StartRun,
    spec: PipelineSpec,
    stage_ids: Mapping[str, uuid.UUID],
    *,
    problems: Sequence[DomainError] = (),
    retry_of_id: uuid.UUID | None = None,
    reused: Mapping[str, sa.Row[Any]] | None = None,
) -> uuid.UUID:
    """Inserts the run with all its stage runs in the caller's transaction."""
    config = _config_of(request, spec, problems)
    key = await concurrency.enter(
        connection,
        spec.config.concurrency,
        request.pipeline_id,
        request.triggered_by,
        path=("pipelineId",) if retry_of_id is None else ("runId",),
    )
    return await insert_run(
        connection,
        spec,
        config,
        stage_ids,
        reused or {},
        {
            "pipeline_id": request.pipeline_id,
            "trigger_type": request.trigger_type,
            "triggered_by": request.triggered_by,
            "run_config": request.run_config,
            "environment": request.environment,
            "tags": list(request.tags) or None,
            "notes": request.notes,
            "definition": definition_of(spec),
            "idempotency_key": request.idempotency_key,
            "retry_of_id": retry_of_id,
            "timeout_seconds": config.timeout_seconds or spec.config.timeout_seconds,
            "fail_fast": spec.config.fail_fast if config.fail_fast is None else config.fail_fast,
            "max_concurrent_stages": spec.config.max_concurrent_stages,
            "max_concurrent_runs": spec.config.max_concurrent_runs,
            "priority": config.priority,
            "queue_deadline_at": _in_seconds(config.queue_timeout_seconds),
            "concurrency_key": key,
        },
    )


def _config_of(request: StartRun, spec: PipelineSpec, problems: Sequence[DomainError]) -> RunConfig:
    """The parsed configuration; raises ``InvalidInput`` with the given problems and its own."""
    try:
        config = parse_run_config(request.run_config, [stage.name for stage in spec.stages])
    except InvalidInput as error:
        raise InvalidInput([*problems, *error.problems]) from None
    refuse(problems)
    return config


def _in_seconds(seconds: float | None) -> sa.ColumnElement[Any] | None:
    return None if seconds is None else sa.func.now() + timedelta(seconds=seconds)


async def cancel_run(
    engine: AsyncEngine, notifier: Notifier, run_id: uuid.UUID, reason: str | None, actor: str | None = None
) -> None:
    """Requests the end of a run in the name of ``actor``; ``NOT_CANCELLABLE`` if it has ended already."""
    check_all(partial(check_text, "reason", reason, 10_000), partial(check_text, "cancelledBy", actor, 255))
    actor = actor or TriggerType.API.value
    if not await stop_requests.request_cancel(engine, notifier, run_id, actor=actor, reason=reason):
        raise DomainError(
            "the cancel came too late: the run has already ended and stays as it is",
            path=("runId",),
            code=ErrorCode.NOT_CANCELLABLE,
        )


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
    _check_key(idempotency_key)
    known = partial(_run_of_key, engine, idempotency_key, retry_of_id=run_id)
    queue = partial(
        _queue_retry,
        run_id=run_id,
        from_failed=from_failed,
        idempotency_key=idempotency_key,
        trigger_type=trigger_type,
    )
    return await _queue_once(engine, notifier, known, queue)


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
        return await _queue(connection, request, spec, stage_ids, retry_of_id=run_id, reused=reused)


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
