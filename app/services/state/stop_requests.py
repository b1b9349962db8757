"""Requests for the end of a run: by a client, or because a deadline has passed.

Stage runs that have not begun move to CANCELLED at once. Active ones get a stop request, which their worker carries
out; the run ends with the last of them.
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.claims import is_overdue
from app.database.tables import pipeline_runs
from app.domain import messages
from app.domain.events import EventKind
from app.domain.moves import RUN_FINAL
from app.domain.vocabulary import FinishReason, RunStatus
from app.notifications.notifier import Notifier
from app.services.state import consequences
from app.services.state.run_transaction import RunTransaction, run_transaction


async def request_cancel(
    engine: AsyncEngine, notifier: Notifier, run_id: uuid.UUID, *, actor: str, reason: str | None
) -> bool:
    """Records the request of ``actor`` and carries it out as far as no worker is needed.

    False when the run has ended already. A second request changes nothing.
    """
    async with run_transaction(engine, notifier, run_id) as transaction:
        return await cancel(transaction, actor=actor, reason=reason)


async def cancel(transaction: RunTransaction, *, actor: str, reason: str | None) -> bool:
    """``request_cancel`` within the caller's transaction."""
    if transaction.run.status in RUN_FINAL:
        return False
    if transaction.run.cancel_requested_at is None:
        transaction.set_run(cancel_requested_at=sa.func.now(), cancel_reason=reason, cancel_actor=actor)
        cause = messages.cancelled(actor, reason)
        transaction.record(
            EventKind.RUN_CANCEL_REQUESTED, status=transaction.run.status, actor=actor, cause=reason or cause
        )
        await consequences.stop_stages(transaction, FinishReason.CANCELLED, cause, actor=actor)
    return True


async def stop_overdue_run(engine: AsyncEngine, notifier: Notifier, run_id: uuid.UUID) -> bool:
    """Stops a run that waited or ran past its deadline, unless its end was requested before."""
    async with run_transaction(engine, notifier, run_id) as transaction:
        run = transaction.run
        if run.finish_reason is not None or run.cancel_requested_at is not None or run.status in RUN_FINAL:
            return False
        if not await _is_still_overdue(transaction):
            return False
        if run.status is RunStatus.RUNNING:
            message = messages.over_time(run.timeout_seconds)
        else:
            waited = (run.queue_deadline_at - run.created_at).total_seconds()
            message = messages.waited_too_long(waited)
        transaction.set_run(finish_reason=FinishReason.TIMED_OUT, error_message=message)
        await consequences.stop_stages(transaction, FinishReason.TIMED_OUT, message)
        return True


async def _is_still_overdue(transaction: RunTransaction) -> bool:
    """A worker may have started it since it was found past its queue deadline."""
    statement = sa.select(pipeline_runs.c.id).where(pipeline_runs.c.id == transaction.run.id, is_overdue())
    return (await transaction.connection.execute(statement)).first() is not None


async def overdue_runs(engine: AsyncEngine) -> list[uuid.UUID]:
    """Runs past a deadline whose end has not been requested."""
    async with engine.connect() as connection:
        return list((await connection.execute(sa.select(pipeline_runs.c.id).where(is_overdue()))).scalars())
