"""Concurrency keys: of the runs that share one, a single run is RUNNING; the policy decides about a new run."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.tables import pipeline_runs
from app.domain.events import ENGINE
from app.domain.moves import RUN_ACTIVE
from app.domain.specs import Concurrency, ConcurrencyPolicy
from app.errors import Conflict
from app.services.state.run_transaction import lock_run
from app.services.state.stop_requests import cancel


async def enter(
    connection: AsyncConnection,
    concurrency: Concurrency | None,
    pipeline_id: uuid.UUID,
    actor: str | None,
    *,
    path: Sequence[str],
) -> str | None:
    """The key of a new run of the pipeline, held until the commit; None when its runs do not exclude each other.

    REJECT raises ``Conflict`` for the field at ``path`` while another run of the key is active, CANCEL_IN_PROGRESS asks
    for its end.
    """
    if concurrency is None:
        return None
    key = concurrency.key or f"pipeline {pipeline_id}"
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(key, 0))))
    active = await _active_runs(connection, key)
    if active and concurrency.policy is ConcurrencyPolicy.REJECT:
        raise Conflict(
            f"run {active[0]} of the concurrency key {key!r} is active; wait for its end or cancel it",
            path=path,
        )
    if concurrency.policy is ConcurrencyPolicy.CANCEL_IN_PROGRESS:
        await _cancel_all(connection, active, actor)
    return key


async def _active_runs(connection: AsyncConnection, key: str) -> list[uuid.UUID]:
    statement = sa.select(pipeline_runs.c.id).where(
        pipeline_runs.c.concurrency_key == key,
        pipeline_runs.c.status.in_(RUN_ACTIVE),
    )
    return list((await connection.execute(statement.order_by(pipeline_runs.c.id))).scalars())


async def _cancel_all(connection: AsyncConnection, run_ids: list[uuid.UUID], actor: str | None) -> None:
    """Locks all runs before the first of them locks its pipeline: the order of locks of all transactions."""
    transactions = [await lock_run(connection, run_id) for run_id in run_ids]
    for transaction in transactions:
        await cancel(
            transaction, actor=actor or ENGINE, reason="a newer run of its concurrency key took its place"
        )
        await transaction.flush()
