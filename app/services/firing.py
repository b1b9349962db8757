"""Starts the runs of schedules: each due moment exactly once, however many servers look.

The server that moves ``next_run_at`` from the moment it read to the next one queues the runs in the same transaction.
Either both are committed or neither, and a server that comes later reads another ``next_run_at``.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.tables import pipeline_runs, schedules
from app.domain.cron import Cron
from app.domain.vocabulary import MissedPolicy, TriggerType
from app.errors import DomainError
from app.notifications.notifier import Notifier
from app.services.runs import StartRun, queue_run, queued_topics

logger = logging.getLogger(__name__)

DueSchedule = sa.Row[Any]
"""A schedule and the database's time when it was read, ``now``."""

MISSED_AFTER = dt.timedelta(seconds=60)
"""A run that starts later than this after its moment was missed."""

CATCH_UP_LIMIT = 10
_BATCH = 100


async def due_schedules(engine: AsyncEngine) -> Sequence[DueSchedule]:
    """Some of the schedules that are due by the database's clock, which is their column ``now``."""
    now = sa.func.now()
    statement = (
        sa.select(schedules, now.label("now"))
        .where(schedules.c.next_run_at <= now)
        .order_by(schedules.c.next_run_at)
        .limit(_BATCH)
    )
    async with engine.connect() as connection:
        return (await connection.execute(statement)).all()


async def seconds_to_next(engine: AsyncEngine) -> float | None:
    """How long until a schedule comes due (negative if one is overdue); None when there is none."""
    wait = sa.extract("epoch", sa.func.min(schedules.c.next_run_at) - sa.func.clock_timestamp())
    async with engine.connect() as connection:
        seconds = (await connection.execute(sa.select(wait))).scalar_one()
    return None if seconds is None else float(seconds)


async def fire(
    engine: AsyncEngine, notifier: Notifier, schedule: DueSchedule, environment: str | None
) -> list[uuid.UUID]:
    """Queues the runs of a due schedule; none if another server has done so.

    ``environment`` is that of runs whose schedule states none. A run that can't be queued (for example, its
    configuration no longer fits the pipeline) is recorded in ``last_error`` and not tried again.
    """
    cron = Cron(schedule.cron, schedule.time_zone)
    moments = moments_to_run(cron, schedule.missed_policy, schedule.next_run_at, schedule.now)
    run_ids: list[uuid.UUID] = []
    values: dict[str, Any] = {"next_run_at": cron.next_after(schedule.now)}
    try:
        async with engine.begin() as connection:
            for moment in moments:
                request = _request(schedule, moment, schedule.environment or environment)
                queued, notes = await _queue(connection, schedule, moment, request)
                run_ids += queued
                values |= notes
            # Last: the deletion of one of its runs locks the run, the pipeline and then the schedule.
            await _take(connection, schedule, values)
    except _ScheduleHasChanged:
        return []
    for run_id in run_ids:
        notifier.publish(*queued_topics(run_id))
    return run_ids


def moments_to_run(
    cron: Cron, policy: MissedPolicy, first_due: dt.datetime, now: dt.datetime
) -> list[dt.datetime]:
    """Which of the moments from ``first_due`` until ``now`` get a run."""
    count = CATCH_UP_LIMIT if policy is MissedPolicy.RUN_ALL else 1
    # The rules of the time zone may have changed since the first moment was computed.
    moments = cron.latest_between(first_due, now, count) or [first_due]
    if policy is MissedPolicy.SKIP:
        return [moment for moment in moments if now - moment <= MISSED_AFTER]
    return moments


class _ScheduleHasChanged(Exception):
    """The schedule was served, changed or deleted since it was read."""


async def _take(connection: AsyncConnection, schedule: DueSchedule, values: Mapping[str, Any]) -> None:
    """Makes this transaction the one that starts the runs due at the moment seen; else nothing of it may remain."""
    statement = (
        sa.update(schedules)
        .where(
            schedules.c.id == schedule.id,
            schedules.c.next_run_at == schedule.next_run_at,
            schedules.c.updated_at == schedule.updated_at,
        )
        .values(values)
    )
    if (await connection.execute(statement)).rowcount != 1:
        raise _ScheduleHasChanged


def _request(schedule: DueSchedule, moment: dt.datetime, environment: str | None) -> StartRun:
    return StartRun(
        pipeline_id=schedule.pipeline_id,
        run_config=schedule.run_config,
        environment=environment,
        triggered_by=f"schedule {schedule.name}",
        tags=schedule.tags or (),
        notes=f"due at {moment.isoformat()}",
        idempotency_key=f"schedule {schedule.id} {moment.isoformat()}",
        trigger_type=TriggerType.SCHEDULED,
    )


async def _queue(
    connection: AsyncConnection, schedule: DueSchedule, moment: dt.datetime, request: StartRun
) -> tuple[list[uuid.UUID], dict[str, Any]]:
    """The new run, if one can be queued, and what the schedule's row shall say about it."""
    try:
        async with connection.begin_nested():
            run_id = await queue_run(connection, request)
    except IntegrityError:
        if not await _is_used(connection, request.idempotency_key):
            raise
        return [], {}
    except DomainError as error:
        logger.warning("schedule %s could not start its run: %s", schedule.id, error.message)
        return [], {"last_error": error.message}
    return [run_id], {"last_run_at": moment, "last_run_id": run_id, "last_error": None}


async def _is_used(connection: AsyncConnection, key: str | None) -> bool:
    """Whether the key has a run: of a faster server, or from before the database's clock was set back."""
    statement = sa.select(sa.literal(1)).where(pipeline_runs.c.idempotency_key == key)
    return (await connection.execute(statement)).first() is not None
