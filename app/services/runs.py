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

from app.database.tables import pipeline_runs
from app.domain.input.pipelines import parse_pipeline, parse_run_config
from app.domain.specs import PipelineSpec, RunConfig, definition_of
from app.domain.vocabulary import TriggerType
from app.errors import Conflict, DomainError, ErrorCode, InvalidInput
from app.notifications.notifier import Notifier
from app.notifications.topics import RUNS, WORK, run_topic
from app.services import concurrency
from app.services.checks import check_all, check_tags, check_text, problems_at, problems_of, refuse
from app.services.pipelines import load_pipeline
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
    known = partial(run_of_key, engine, key, pipeline_id=request.pipeline_id, retry_of_id=None)
    return await queue_once(
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
    return await queue_spec(connection, request, spec, pipeline.stage_ids, problems=problems)


def queued_topics(run_id: uuid.UUID) -> tuple[str, ...]:
    """Topics to notify after the commit that queued the run."""
    return run_topic(run_id), RUNS, WORK


def _check(request: StartRun) -> None:
    check_all(
        partial(check_text, "environment", request.environment, 50),
        partial(check_text, "triggeredBy", request.triggered_by, 255),
        partial(check_key, request.idempotency_key),
        partial(check_text, "notes", request.notes, NOTES_LIMIT),
        partial(check_tags, request.tags),
    )


def check_key(key: str | None) -> None:
    check_text("idempotencyKey", key, KEY_LIMIT)
    if key == "":
        raise DomainError("idempotencyKey: must not be empty; leave it out", path=("idempotencyKey",))


async def queue_once(
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


async def run_of_key(engine: AsyncEngine, key: str | None, **expected: uuid.UUID | None) -> uuid.UUID | None:
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


async def queue_spec(
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
