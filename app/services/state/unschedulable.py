"""A ready stage run that asks for more than any worker has, even an idle one: it fails instead of waiting for ever."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.claims import is_unschedulable, lease_is_live, was_alive_within
from app.database.tables import stage_runs, workers
from app.domain import messages
from app.domain.specs import readable_config
from app.domain.vocabulary import FinishReason, Phase, StageStatus
from app.notifications.notifier import Notifier
from app.services.state import consequences
from app.services.state.claims import claims_transaction
from app.services.state.run_transaction import lock_run, worker_actor


async def fail_unschedulable_stage(
    engine: AsyncEngine,
    notifier: Notifier,
    worker_id: uuid.UUID,
    run_id: uuid.UUID,
    stage_run_id: uuid.UUID,
    lost_after_seconds: float,
) -> bool:
    """ready -> FAILED; False if the stage run has moved on or some worker is large enough by now."""
    async with claims_transaction(engine) as connection:
        if not await lease_is_live(connection, worker_id):
            return False
        transaction = await lock_run(connection, run_id)
        stage = await transaction.stage(stage_run_id, None, (Phase.READY,))
        if stage is None or not await _is_unschedulable(connection, stage_run_id, lost_after_seconds):
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


async def _is_unschedulable(
    connection: AsyncConnection, stage_run_id: uuid.UUID, lost_after_seconds: float
) -> bool:
    statement = sa.select(stage_runs.c.id).where(
        stage_runs.c.id == stage_run_id, is_unschedulable(lost_after_seconds)
    )
    return (await connection.execute(statement)).first() is not None


async def _largest_worker(connection: AsyncConnection, lost_after_seconds: float) -> str:
    statement = (
        sa.select(workers.c.cpus, workers.c.memory_mb)
        .where(was_alive_within(lost_after_seconds))
        .order_by(workers.c.cpus.desc(), workers.c.memory_mb.desc().nulls_first())
        .limit(1)
    )
    return _amount(*(await connection.execute(statement)).one())


def _asked(stage: sa.Row[Any]) -> tuple[float, int | None]:
    resources = readable_config(stage.spec).resources
    return resources.cpus, resources.memory_mb


def _amount(cpus: float, memory_mb: int | None) -> str:
    memory = "" if memory_mb is None else f" and {memory_mb} MB of memory"
    return f"{cpus:g} CPU{'' if cpus == 1 else 's'}{memory}"
