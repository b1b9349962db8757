"""What a supervisor takes or gives up on its own account: the moves that are made under the claims lock.

Each function is one transaction that first takes the lock, then looks at its own lease: a worker that was cut off
or stopped for a while changes nothing. It answers None or False when there is nothing to do (any more).
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database import claims
from app.database.reads.attempts import last_sign_of
from app.database.tables import stage_attempts, stage_runs, workers
from app.domain import messages
from app.domain.attempts import AttemptKey
from app.domain.events import EventKind
from app.domain.moves import ACTIVE_PHASES
from app.domain.outcomes import AttemptOutcome
from app.domain.specs import DEFAULT_EXECUTOR
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.notifications.notifier import Notifier
from app.services.state import consequences
from app.services.state.attempt_reports import fail_attempt
from app.services.state.outputs import StageOutputs
from app.services.state.run_transaction import lock_run, worker_actor


@contextlib.asynccontextmanager
async def _claiming(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
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
    """PENDING -> RUNNING for the oldest waiting run; None when there is none or the limit is reached."""
    async with _claiming(engine) as connection:
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
            cause="it was its turn and the limits of runs allow one more",
        )
        await transaction.flush()
    notifier.publish(*transaction.topics)
    return run_id


async def claim_next_stage(
    engine: AsyncEngine, notifier: Notifier, worker_id: uuid.UUID, host_id: uuid.UUID
) -> AttemptKey | None:
    """ready -> claimed, as a new attempt of this worker; None when nothing may start now."""
    async with _claiming(engine) as connection:
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
                # What is wrong with the rest of a damaged specification is for whoever drives the attempt to say.
                executor=stage.spec.get("executor", DEFAULT_EXECUTOR),
            )
        )
        transaction.record(
            EventKind.STAGE_CLAIMED,
            stage_run_id,
            status=StageStatus.PENDING,
            previousStatus=stage.status,
            attempt=attempt,
            actor=worker_actor(worker_id),
            cause="it was its turn and this worker has room for it",
            workerId=str(worker_id),
        )
        await transaction.flush()
    notifier.publish(*transaction.topics)
    return AttemptKey(run_id, stage_run_id, attempt)


async def declare_lost(
    engine: AsyncEngine,
    notifier: Notifier,
    worker_id: uuid.UUID,
    key: AttemptKey,
    *,
    lost_after_seconds: float,
    lease_seconds: float,
) -> bool:
    """Gives up another host's attempt: it is tried again, or the stage run ends.

    Only while no worker of that host has had a live lease for ``lost_after_seconds``. Its processes may still run
    there: whatever they report is refused from now on, and their host ends them when it comes back.
    """
    async with _claiming(engine) as connection:
        if not await claims.may_judge(connection, worker_id, lease_seconds):
            return False
        transaction = await lock_run(connection, key.run_id)
        stage = await transaction.stage(key.stage_run_id, key.number, ACTIVE_PHASES)
        sign = await last_sign_of(connection, key, lost_after_seconds)
        if stage is None or sign is None:
            return False
        error = messages.host_is_silent(sign["hostName"], lost_after_seconds)
        outcome = AttemptOutcome(FinishReason.LOST, error=error, evidence=sign, processes_are_gone=False)
        await fail_attempt(transaction, stage, outcome, StageOutputs(), actor=worker_actor(worker_id))
        await transaction.flush()
    notifier.publish(*transaction.topics)
    return True


async def refuse_unfit_stage(
    engine: AsyncEngine,
    notifier: Notifier,
    worker_id: uuid.UUID,
    run_id: uuid.UUID,
    stage_run_id: uuid.UUID,
    lost_after_seconds: float,
) -> bool:
    """ready -> FAILED for a stage run that asks for more than any worker has, even when it is idle."""
    async with _claiming(engine) as connection:
        if not await claims.lease_is_live(connection, worker_id):
            return False
        transaction = await lock_run(connection, run_id)
        stage = await transaction.stage(stage_run_id, None, (Phase.READY,))
        if stage is None or not await _fits_nobody(connection, stage_run_id, lost_after_seconds):
            return False
        largest = await _largest_worker(connection, lost_after_seconds)
        message = messages.too_large(_amount(*_asked(stage)), largest)
        await consequences.finish_stage(
            transaction,
            stage,
            StageStatus.FAILED,
            actor=worker_actor(worker_id),
            cause=message,
            error_message=message,
            finish_reason=FinishReason.START_FAILED,
        )
        await transaction.flush()
    notifier.publish(*transaction.topics)
    return True


async def _fits_nobody(
    connection: AsyncConnection, stage_run_id: uuid.UUID, lost_after_seconds: float
) -> bool:
    statement = sa.select(stage_runs.c.id).where(
        stage_runs.c.id == stage_run_id, claims.fits_nobody(lost_after_seconds)
    )
    return (await connection.execute(statement)).first() is not None


async def _largest_worker(connection: AsyncConnection, lost_after_seconds: float) -> str:
    statement = (
        sa.select(workers.c.cpus, workers.c.memory_mb)
        .where(claims.heard_of_within(lost_after_seconds))
        .order_by(workers.c.cpus.desc(), workers.c.memory_mb.desc().nulls_first())
        .limit(1)
    )
    return _amount(*(await connection.execute(statement)).one())


def _asked(stage: sa.Row[Any]) -> tuple[float, int | None]:
    resources = stage.spec["resources"]
    return resources["cpus"], resources["memoryMb"]


def _amount(cpus: float, memory_mb: int | None) -> str:
    memory = "" if memory_mb is None else f" and {memory_mb} MB of memory"
    return f"{cpus:g} CPU{'' if cpus == 1 else 's'}{memory}"
