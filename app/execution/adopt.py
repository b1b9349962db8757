"""What a supervisor finds at its start: attempts that kept running without it, and files that nothing refers to."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.reads.attempts import Attempt, attempts_of_host
from app.execution.executors.base import AttemptState, Executor
from app.execution.failures import isolated, log_failure
from app.notifications.notifier import Notifier
from app.services.state import attempt_reports

logger = logging.getLogger(__name__)


async def adopt_attempts(
    engine: AsyncEngine, notifier: Notifier, host_id: uuid.UUID, worker_id: uuid.UUID
) -> list[Attempt]:
    """Assigns all attempts of this host that have not ended to this worker; returns them."""
    async with engine.connect() as connection:
        found = await attempts_of_host(connection, host_id)
    for attempt in found:
        with isolated(logger, f"adopt attempt {attempt.id}", **attempt.key.log_ids):
            await attempt_reports.adopt_attempt(engine, notifier, attempt.key, worker_id)
            logger.info("adopted attempt %s of stage %s", attempt.id, attempt.stage_name)
    return found


async def leftovers(executor: Executor, current: Collection[Attempt]) -> list[str]:
    """Ids of attempts that have files here although they are not current any more."""
    current_ids = {attempt.id for attempt in current}
    return [attempt_id for attempt_id in await executor.leftovers() if attempt_id not in current_ids]


async def clear_leftover(executor: Executor, attempt_id: str) -> None:
    """Ends and removes an attempt that is not current any more: its outcome is never published."""
    try:
        await end_processes(executor, attempt_id)
        await executor.sweep(attempt_id)
        await executor.forget(attempt_id)
    except Exception as error:  # the janitor tries again
        log_failure(logger, f"remove the files of attempt {attempt_id}", error)


async def end_processes(executor: Executor, attempt_id: str) -> None:
    """Ends the processes of the attempt; returns when none is left."""
    state = await executor.state(attempt_id)
    if state is AttemptState.RUNNING:
        await executor.cancel(attempt_id)
        state = await executor.wait(attempt_id)
    if state is AttemptState.LOST:
        await executor.sweep(attempt_id)
