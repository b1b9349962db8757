"""What a supervisor may take next: the statements behind claiming, kept in one place for their locking rules.

All claims of a database are serialised by one advisory lock, taken as a statement of its own so that the claiming
statement's snapshot comes after it. Whoever also locks a run's row takes the claims lock first.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import pipeline_runs, stage_runs, workers
from app.domain.statuses import Phase, RunStatus

CLAIMS_LOCK = 0x6D6C70_01

ACTIVE_PHASES = (Phase.CLAIMED, Phase.RUNNING, Phase.COLLECTING)


async def take_claims_lock(connection: AsyncConnection) -> None:
    """Waits until this transaction is the only one that claims."""
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CLAIMS_LOCK)))


async def lease_is_live(connection: AsyncConnection, worker_id: uuid.UUID) -> bool:
    """Whether the worker may still claim, on the database's clock."""
    live = sa.select(sa.literal(1)).where(workers.c.id == worker_id, workers.c.lease_until > sa.func.now())
    return (await connection.execute(live)).first() is not None


async def next_pending_run(connection: AsyncConnection, running_limit: int) -> uuid.UUID | None:
    """The oldest PENDING run, if fewer than ``running_limit`` runs are RUNNING."""
    running = sa.select(sa.func.count()).where(pipeline_runs.c.status == RunStatus.RUNNING).scalar_subquery()
    statement = (
        sa.select(pipeline_runs.c.id)
        .where(pipeline_runs.c.status == RunStatus.PENDING, running < running_limit)
        .order_by(pipeline_runs.c.id)
        .limit(1)
    )
    found: uuid.UUID | None = (await connection.execute(statement)).scalar_one_or_none()
    return found


async def next_ready_stage(connection: AsyncConnection) -> tuple[uuid.UUID, uuid.UUID] | None:
    """(stage run, run) of the first stage run that may start now: oldest run first, then the pipeline's order."""
    first = _first_due_stage().lateral("first_due")
    statement = (
        sa.select(first.c.id, pipeline_runs.c.id)
        .join(first, sa.true())
        .where(pipeline_runs.c.status == RunStatus.RUNNING, _has_room())
        .order_by(pipeline_runs.c.id)
        .limit(1)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else (row[0], row[1])


def _first_due_stage() -> sa.Select[tuple[uuid.UUID]]:
    """Of one run; looked up per run, because a run may have thousands of ready stages."""
    now = sa.func.now()
    return (
        sa.select(stage_runs.c.id)
        .where(
            stage_runs.c.pipeline_run_id == pipeline_runs.c.id,
            stage_runs.c.phase == Phase.READY,
            sa.func.coalesce(stage_runs.c.not_before, now) <= now,
        )
        .order_by(stage_runs.c.position)
        .limit(1)
        .correlate(pipeline_runs)
    )


def _has_room() -> sa.ColumnElement[bool]:
    """Whether the run may have one more active stage."""
    active = stage_runs.alias("active")
    count = (
        sa.select(sa.func.count())
        .where(active.c.pipeline_run_id == pipeline_runs.c.id, active.c.phase.in_(ACTIVE_PHASES))
        .correlate(pipeline_runs)
        .scalar_subquery()
    )
    limit = pipeline_runs.c.max_concurrent_stages
    return sa.or_(limit.is_(None), count < limit)


@dataclass(frozen=True)
class Work:
    """What a supervisor has to look after, read in one statement so that an idle one costs next to nothing."""

    pending_runs: bool
    overdue_runs: bool
    ready_stages: bool
    stages_to_stop: bool
    seconds_to_next_retry: float | None


async def work_at_hand(connection: AsyncConnection, worker_id: uuid.UUID) -> Work:
    """Whether there may be something to do; the claims themselves decide."""
    now = sa.func.now()
    runs, stages = pipeline_runs.c, stage_runs.c
    wait = sa.extract("epoch", sa.func.min(stages.not_before) - now)
    statement = sa.select(
        sa.exists().where(runs.status == RunStatus.PENDING),
        sa.exists().where(
            runs.status == RunStatus.RUNNING,
            runs.deadline_at < now,
            runs.finish_reason.is_(None),
            runs.cancel_requested_at.is_(None),
        ),
        sa.exists().where(stages.phase == Phase.READY, sa.func.coalesce(stages.not_before, now) <= now),
        sa.exists().where(
            stages.worker_id == worker_id,
            stages.phase.in_((Phase.CLAIMED, Phase.RUNNING)),
            stages.stop_requested_at.is_not(None),
        ),
        sa.select(wait).where(stages.phase == Phase.READY, stages.not_before > now).scalar_subquery(),
    )
    pending, overdue, ready, stop, seconds = (await connection.execute(statement)).one()
    return Work(pending, overdue, ready, stop, None if seconds is None else float(seconds))
