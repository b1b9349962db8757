"""What a worker claims: a run that leaves the queue (PENDING -> RUNNING), a stage run that is ready (ready -> claimed).

Each function is one transaction that first takes the claims lock, then checks its own lease, so that a worker that was
cut off or suspended claims nothing. It returns None when nothing can be claimed.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database import claims
from app.database.tables import stage_attempts
from app.domain.attempts import AttemptKey
from app.domain.events import EventKind
from app.domain.specs import readable_config
from app.domain.vocabulary import Phase, RunStatus, StageStatus
from app.notifications.notifier import Notifier
from app.services.state.run_transaction import lock_run, worker_actor


@contextlib.asynccontextmanager
async def claims_transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that holds the claims lock, so that no other worker claims or judges at the same time."""
    async with engine.begin() as connection:
        await claims.take_claims_lock(connection)
        yield connection


async def start_next_run(
    engine: AsyncEngine,
    notifier: Notifier,
    worker_id: uuid.UUID,
    *,
    running_limit: int,
    default_timeout_seconds: float,
) -> uuid.UUID | None:
    """PENDING -> RUNNING for the first run of the queue; None when there is none or a limit is reached."""
    async with claims_transaction(engine) as connection:
        run_id = await claims.next_pending_run(connection, running_limit)
        if run_id is None or not await claims.lease_is_live(connection, worker_id):
            return None
        transaction = await lock_run(connection, run_id)
        if transaction.run.status is not RunStatus.PENDING:
            return None
        now = sa.func.now()
        limit = transaction.run.timeout_seconds or default_timeout_seconds
        transaction.move_run(
            RunStatus.RUNNING,
            started_at=now,
            deadline_at=now + timedelta(seconds=limit),
            timeout_seconds=limit,
        )
        transaction.record(
            EventKind.RUN_STARTED,
            status=RunStatus.RUNNING,
            previousStatus=RunStatus.PENDING,
            actor=worker_actor(worker_id),
            cause="it was first in the queue and the limits of runs allow one more",
        )
        await transaction.flush()
    notifier.publish(*transaction.topics)
    return run_id


async def claim_next_stage(
    engine: AsyncEngine, notifier: Notifier, worker_id: uuid.UUID, host_id: uuid.UUID
) -> AttemptKey | None:
    """ready -> claimed, as a new attempt of this worker; None when nothing may start now."""
    async with claims_transaction(engine) as connection:
        found = await claims.next_ready_stage(connection, worker_id)
        if found is None or not await claims.lease_is_live(connection, worker_id):
            return None
        stage_run_id, run_id = found
        transaction = await lock_run(connection, run_id)
        stage = await transaction.stage(stage_run_id, None, (Phase.READY,))
        if stage is None:
            return None
        attempt = stage.attempt_number + 1
        await transaction.move_stage(
            stage, Phase.CLAIMED, attempt_number=attempt, worker_id=worker_id, not_before=None
        )
        await connection.execute(
            sa.insert(stage_attempts).values(
                stage_run_id=stage_run_id,
                attempt=attempt,
                worker_id=worker_id,
                host_id=host_id,
                # A damaged specification is reported by the worker that drives the attempt, not here.
                executor=readable_config(stage.spec).executor,
            )
        )
        transaction.record(
            EventKind.STAGE_CLAIMED,
            stage_run_id,
            status=StageStatus.PENDING,
            previousStatus=stage.status,
            attempt=attempt,
            actor=worker_actor(worker_id),
            cause="it was first of those that this worker has room for",
            workerId=str(worker_id),
        )
        await transaction.flush()
    notifier.publish(*transaction.topics)
    return AttemptKey(run_id, stage_run_id, attempt)
