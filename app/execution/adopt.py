"""What a supervisor finds at its start: attempts that went on without it, and folders nobody needs any more."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection
from pathlib import Path

from anyio import to_thread
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
    """Attempts of this host that are not over, now this worker's."""
    async with engine.connect() as connection:
        found = await attempts_of_host(connection, host_id)
    for attempt in found:
        with isolated(logger, f"adopt attempt {attempt.id}", **attempt.key.log_ids):
            await attempt_reports.adopt_attempt(engine, notifier, attempt.key, worker_id)
            logger.info("adopted attempt %s of stage %s", attempt.id, attempt.stage_name)
    return found


async def leftovers(attempts_folder: Path, keep: Collection[Attempt]) -> list[str]:
    """Ids of attempts which have a folder here although the database no longer counts them as current."""
    kept = {attempt.id for attempt in keep}
    return [name for name in await to_thread.run_sync(_folder_names, attempts_folder) if name not in kept]


async def clear_leftover(executor: Executor, attempt_id: str) -> None:
    """Ends and removes an attempt whose outcome nobody wants any more: it is never published."""
    try:
        await end_processes(executor, attempt_id)
        await executor.sweep(attempt_id)
        await executor.forget(attempt_id)
    except Exception as error:  # the janitor tries again
        log_failure(logger, f"remove the leftover attempt folder {attempt_id}", error)


async def end_processes(executor: Executor, attempt_id: str) -> None:
    """Returns when nothing of the attempt runs any more."""
    state = await executor.state(attempt_id)
    if state is AttemptState.RUNNING:
        await executor.cancel(attempt_id)
        state = await executor.wait(attempt_id)
    if state is AttemptState.LOST:
        await executor.sweep(attempt_id)


def _folder_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
