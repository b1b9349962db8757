"""What a supervisor may claim next, and what it has to look after.

Claiming and declaring losses are serialised over the whole database by one advisory lock, the claims lock. It is
acquired by a statement of its own: under READ COMMITTED each statement has its own snapshot, so the statement that
selects what to claim sees everything committed before the lock was granted. A transaction that also locks the row of a
run acquires the claims lock first (the order of all locks is in ``services.state.run_transaction``).

Statements executed in every cycle of a supervisor are built once and cached: building one takes longer than executing
it.
"""

from __future__ import annotations

import uuid
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.tables import pipeline_runs, stage_attempts, stage_runs, workers
from app.domain.moves import ACTIVE_PHASES, STOPPABLE_PHASES
from app.domain.vocabulary import Phase, RunStatus

CLAIMS_LOCK = 0x6D6C70_01
LOCK_TIMEOUT = "1s"


_ROUNDING = 1e-6
"""Tolerance for the rounding errors of sums of fractional CPUs."""


async def take_claims_lock(connection: AsyncConnection) -> None:
    """Acquire the claims lock until the end of the transaction.

    Also sets ``lock_timeout`` for the transaction's further locks: while it waits for one, no worker can claim. A
    timeout counts as an outage (``is_outage``), and the caller tries again.
    """
    set_lock_timeout = sa.func.set_config("lock_timeout", LOCK_TIMEOUT, True)
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CLAIMS_LOCK), set_lock_timeout))


async def lease_is_live(connection: AsyncConnection, worker_id: uuid.UUID) -> bool:
    """Whether the lease of the worker is live, by the clock of the database."""
    live = sa.select(sa.literal(1)).where(
        workers.c.id == worker_id, workers.c.lease_until > sa.func.clock_timestamp()
    )
    return (await connection.execute(live)).first() is not None


async def next_pending_run(connection: AsyncConnection, running_limit: int) -> uuid.UUID | None:
    """The PENDING run to start next, by priority and then by age; None if limits allow none.

    The limits: ``running_limit`` RUNNING runs in total, the run's ``max_concurrent_runs`` of its pipeline, and one
    RUNNING run per concurrency key.
    """
    parameters = {"running_limit": running_limit}
    found: uuid.UUID | None = (await connection.execute(_next_pending_run(), parameters)).scalar_one_or_none()
    return found


@cache
def _next_pending_run() -> sa.Select[Any]:
    runs = pipeline_runs.c
    running = (
        sa.select(runs.pipeline_id, runs.concurrency_key)
        .where(runs.status == RunStatus.RUNNING)
        .cte("running")
    )
    total = sa.select(sa.func.count()).select_from(running).scalar_subquery()
    of_pipeline = sa.select(sa.func.count()).where(running.c.pipeline_id == runs.pipeline_id)
    of_key = sa.select(sa.literal(1)).where(running.c.concurrency_key == runs.concurrency_key)
    limit = runs.max_concurrent_runs
    return (
        sa.select(runs.id)
        .where(
            runs.status == RunStatus.PENDING,
            total < sa.bindparam("running_limit"),
            sa.or_(limit.is_(None), of_pipeline.correlate(pipeline_runs).scalar_subquery() < limit),
            sa.or_(runs.concurrency_key.is_(None), ~sa.exists(of_key.correlate(pipeline_runs))),
            # Not now(), the start of this transaction: it may have waited for the claims lock since.
            sa.or_(runs.queue_deadline_at.is_(None), runs.queue_deadline_at > sa.func.clock_timestamp()),
        )
        .order_by(runs.priority.desc(), runs.id)
        .limit(1)
    )


async def next_ready_stage(
    connection: AsyncConnection, worker_id: uuid.UUID
) -> tuple[uuid.UUID, uuid.UUID] | None:
    """(stage run, run) of the stage run that this worker may start now.

    Among runs of the same priority, the one with the fewest active stages comes first, then the oldest.
    """
    row = (await connection.execute(_next_ready_stage(), {"worker_id": worker_id})).one_or_none()
    return None if row is None else (row[0], row[1])


@cache
def _next_ready_stage() -> sa.Select[Any]:
    runs = pipeline_runs.c
    first = _first_due_stage().lateral("first_due")
    active = (
        sa.select(stage_runs.c.pipeline_run_id, sa.func.count().label("stages"))
        .where(stage_runs.c.phase.in_(ACTIVE_PHASES))
        .group_by(stage_runs.c.pipeline_run_id)
        .cte("active")
    )
    count = sa.func.coalesce(active.c.stages, 0)
    limit = runs.max_concurrent_stages
    return (
        sa.select(first.c.id, runs.id)
        .select_from(pipeline_runs)
        .join(first, sa.true())
        .outerjoin(active, active.c.pipeline_run_id == runs.id)
        .where(runs.status == RunStatus.RUNNING, sa.or_(limit.is_(None), count < limit))
        .order_by(runs.priority.desc(), count, runs.id)
        .limit(1)
    )


def _first_due_stage() -> sa.Select[tuple[uuid.UUID]]:
    """The first ready stage of a run that fits on the worker; LATERAL, because a run may have thousands of them."""
    now = sa.func.now()
    free = _free_resources()
    free_cpus = sa.select(free.c.cpus).scalar_subquery()
    free_memory = sa.select(free.c.memory_mb).scalar_subquery()
    return (
        sa.select(stage_runs.c.id)
        .where(
            stage_runs.c.pipeline_run_id == pipeline_runs.c.id,
            stage_runs.c.phase == Phase.READY,
            sa.func.coalesce(stage_runs.c.not_before, now) <= now,
            stage_runs.c.cpus <= free_cpus,
            sa.func.coalesce(stage_runs.c.memory_mb <= free_memory, sa.true()),
        )
        .order_by(stage_runs.c.position)
        .limit(1)
        .correlate(pipeline_runs)
    )


def _free_resources() -> sa.CTE:
    """The CPUs and the memory that the worker's host has left. Memory is NULL where it is unlimited."""
    taken = (
        sa.select(
            sa.func.sum(stage_runs.c.cpus).label("cpus"), sa.func.sum(stage_runs.c.memory_mb).label("mb")
        )
        .select_from(stage_runs.join(stage_attempts, IS_CURRENT))
        .where(stage_runs.c.phase.in_(ACTIVE_PHASES), stage_attempts.c.host_id == workers.c.host_id)
        .correlate(workers)
        .lateral("taken")
    )
    return (
        sa.select(
            (workers.c.cpus - sa.func.coalesce(taken.c.cpus, 0) + _ROUNDING).label("cpus"),
            (workers.c.memory_mb - sa.func.coalesce(taken.c.mb, 0)).label("memory_mb"),
        )
        .select_from(workers.join(taken, sa.true()))
        .where(workers.c.id == sa.bindparam("worker_id"))
        .cte("free")
    )


IS_CURRENT = sa.and_(
    stage_attempts.c.stage_run_id == stage_runs.c.id, stage_attempts.c.attempt == stage_runs.c.attempt_number
)
"""Joins a stage run to its last attempt."""


def was_alive_within(seconds: float) -> sa.ColumnElement[bool]:
    """Condition on a worker: its lease is live, or expired at most that long ago, so that it may still return."""
    return workers.c.lease_until > sa.func.now() - timedelta(seconds=seconds)


def is_lost(lost_after_seconds: float) -> sa.ColumnElement[bool]:
    """Condition on an active attempt: no worker of its host had a live lease for that long."""
    alive = sa.select(sa.literal(1)).where(
        workers.c.host_id == stage_attempts.c.host_id, was_alive_within(lost_after_seconds)
    )
    # Without this condition, an attempt would be lost as soon as the rows of its host's workers were deleted.
    claimed = stage_attempts.c.claimed_at < sa.func.now() - timedelta(seconds=lost_after_seconds)
    return sa.and_(claimed, ~sa.exists(alive.correlate(stage_attempts)))


def is_unschedulable(lost_after_seconds: float) -> sa.ColumnElement[bool]:
    """Condition on a stage run: no worker that is alive or may return is large enough for it, even when idle."""
    large_enough = sa.select(sa.literal(1)).where(
        was_alive_within(lost_after_seconds),
        workers.c.cpus >= stage_runs.c.cpus,
        sa.func.coalesce(workers.c.memory_mb >= stage_runs.c.memory_mb, sa.true()),
    )
    return ~sa.exists(large_enough.correlate(stage_runs))


async def may_declare_losses(connection: AsyncConnection, worker_id: uuid.UUID, lease_seconds: float) -> bool:
    """Whether the worker may declare attempts of other hosts lost.

    It must have a live lease and must have registered at least ``lease_seconds`` ago: after an outage of the database
    all leases have expired, and this gives all workers the time to register again.
    """
    live = sa.select(sa.literal(1)).where(
        workers.c.id == worker_id,
        workers.c.lease_until > sa.func.now(),
        workers.c.created_at < sa.func.now() - timedelta(seconds=lease_seconds),
    )
    return (await connection.execute(live)).first() is not None


@dataclass(frozen=True)
class PendingWork:
    """What a supervisor may have to do, read by one statement so that an idle supervisor costs little."""

    pending_runs: bool
    overdue_runs: bool
    ready_stages: bool
    unschedulable_stages: bool
    stages_to_stop: bool
    lost_attempts: bool
    active_attempts: AbstractSet[str]
    """Ids of the attempts on the worker's host."""
    seconds_to_next_retry: float | None


def is_overdue() -> sa.ColumnElement[bool]:
    """Condition on a run: it has exceeded its queue deadline or its deadline, and is not being stopped yet."""
    runs, now = pipeline_runs.c, sa.func.now()
    return sa.or_(
        sa.and_(runs.status == RunStatus.PENDING, runs.queue_deadline_at < now),
        sa.and_(
            runs.status == RunStatus.RUNNING,
            runs.deadline_at < now,
            runs.finish_reason.is_(None),
            runs.cancel_requested_at.is_(None),
        ),
    )


async def pending_work(
    connection: AsyncConnection, host_id: uuid.UUID, lost_after_seconds: float
) -> PendingWork:
    """Whether there may be something to do. The claiming transactions check again."""
    statement = _pending_work(lost_after_seconds)
    row = (await connection.execute(statement, {"host_id": host_id})).one()
    pending, overdue, ready, unschedulable, stop, lost, attempt_ids, seconds = row
    wait_seconds = None if seconds is None else float(seconds)
    return PendingWork(
        pending, overdue, ready, unschedulable, stop, lost, frozenset(attempt_ids or ()), wait_seconds
    )


@cache
def _pending_work(lost_after_seconds: float) -> sa.Select[Any]:
    now = sa.func.now()
    runs, stages = pipeline_runs.c, stage_runs.c
    wait = sa.extract("epoch", sa.func.min(stages.not_before) - now)
    is_active = sa.and_(stages.phase.in_(ACTIVE_PHASES), IS_CURRENT)
    of_host = sa.and_(is_active, stage_attempts.c.host_id == sa.bindparam("host_id"))
    due = sa.and_(stages.phase == Phase.READY, sa.func.coalesce(stages.not_before, now) <= now)
    attempt_id = sa.func.concat(stages.id, ".", stages.attempt_number)  # the text of an ``AttemptId``
    return sa.select(
        sa.exists().where(runs.status == RunStatus.PENDING),
        sa.exists().where(is_overdue()),
        sa.exists().where(due),
        sa.exists().where(
            due,
            stages.pipeline_run_id == runs.id,
            runs.status == RunStatus.RUNNING,
            is_unschedulable(lost_after_seconds),
        ),
        sa.exists().where(of_host, stages.phase.in_(STOPPABLE_PHASES), stages.stop_requested_at.is_not(None)),
        sa.exists().where(is_active, is_lost(lost_after_seconds)),
        sa.select(sa.func.array_agg(attempt_id)).where(of_host).scalar_subquery(),
        sa.select(wait).where(stages.phase == Phase.READY, stages.not_before > now).scalar_subquery(),
    )
