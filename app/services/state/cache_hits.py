"""Reuse of an earlier execution's results (claimed -> COMPLETED), and the cache key under which a stage run executes.

Each function is one transaction. It answers False when the attempt is no longer the stage run's current one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.reads.cache import lock_execution
from app.database.tables import stage_runs
from app.domain.attempts import AttemptKey
from app.domain.cache.keys import digest_of
from app.domain.cache.misses import CacheMiss
from app.domain.moves import ACTIVE_PHASES
from app.domain.vocabulary import Phase, StageStatus
from app.notifications.notifier import Notifier
from app.services.state import consequences
from app.services.state.attempt_records import update_attempt
from app.services.state.run_transaction import RunTransaction, run_transaction, worker_actor


async def reuse_result(
    engine: AsyncEngine, notifier: Notifier, attempt: AttemptKey, source_id: uuid.UUID, digest: str
) -> bool:
    """claimed -> COMPLETED without a process: this stage run reuses the results of ``source_id``.

    From then on the source can't be deleted. False also if a stop was requested before, or the source is gone.
    """
    async with run_transaction(engine, notifier, attempt.run_id) as transaction:
        stage = await _about_to_start(transaction, attempt)
        if stage is None:
            return False
        source = await lock_execution(transaction.connection, source_id, digest)
        if source is None:
            return False
        # Without a start and a finish reason: there was no process.
        await update_attempt(transaction, stage, finished_at=sa.func.clock_timestamp())
        await consequences.finish_stage(
            transaction,
            stage,
            StageStatus.COMPLETED,
            actor=worker_actor(stage.worker_id),
            cause="an earlier execution with the same cache key stands in for it",
            evidence={"cacheKey": digest},
            finish_reason=source.finish_reason,
            metrics=source.metrics,
            output_data=source.output_data,
            reused_from_id=source.id,
            cache_hit=True,
            cache_key=None,
            cache_parts=None,
            cache_miss=None,
        )
        return True


async def _about_to_start(transaction: RunTransaction, attempt: AttemptKey) -> sa.Row[Any] | None:
    """The claimed stage run; None if a stop was requested, which its supervisor carries out."""
    stage = await transaction.stage(attempt.stage_run_id, attempt.number, (Phase.CLAIMED,))
    asked = (
        stage is None
        or stage.stop_requested_at is not None
        or transaction.run.cancel_requested_at is not None
    )
    return None if asked else stage


async def record_miss(
    engine: AsyncEngine, notifier: Notifier, attempt: AttemptKey, key: Mapping[str, Any], miss: CacheMiss
) -> bool:
    """Stores the key under which the attempt executes: once it completes, other stage runs can reuse its results."""
    async with run_transaction(engine, notifier, attempt.run_id) as transaction:
        stage = await _about_to_start(transaction, attempt)
        if stage is None:
            return False
        await _update_stage(
            transaction, stage, cache_key=digest_of(key), cache_parts=key, cache_miss=miss.as_json()
        )
        return True


async def withdraw_key(engine: AsyncEngine, notifier: Notifier, attempt: AttemptKey) -> bool:
    """Removes the key because the outputs may depend on more than it covers; they are never reused."""
    async with run_transaction(engine, notifier, attempt.run_id) as transaction:
        stage = await transaction.stage(attempt.stage_run_id, attempt.number, ACTIVE_PHASES)
        if stage is None:
            return False
        await _update_stage(transaction, stage, cache_key=None)
        return True


async def _update_stage(transaction: RunTransaction, stage: sa.Row[Any], **values: Any) -> None:
    await transaction.connection.execute(
        sa.update(stage_runs).where(stage_runs.c.id == stage.id).values(**values)
    )
