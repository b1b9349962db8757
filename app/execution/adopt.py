"""What a supervisor finds at its start: attempts that went on without it, and folders nobody needs any more."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection
from pathlib import Path

from anyio import to_thread
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.attempts import Attempt, attempts_of_host
from app.execution.executors.base import AttemptState, Executor
from app.services import transitions
from app.services.run_change import Publisher

logger = logging.getLogger(__name__)


async def adopt_attempts(
    engine: AsyncEngine, hints: Publisher, host_id: uuid.UUID, worker_id: uuid.UUID
) -> list[Attempt]:
    """Attempts of this host that are not over, now this worker's."""
    async with engine.connect() as connection:
        found = await attempts_of_host(connection, host_id)
    for attempt in found:
        await transitions.adopt_attempt(
            engine, hints, attempt.run_id, attempt.stage_run_id, attempt.number, worker_id
        )
        logger.info("adopted attempt %s of stage %s", attempt.id, attempt.stage_name)
    return found


async def clear_leftovers(executor: Executor, attempts_folder: Path, keep: Collection[Attempt]) -> None:
    """Ends and removes attempts that the database no longer counts as current: they are never published."""
    kept = {attempt.id for attempt in keep}
    names = await to_thread.run_sync(_folder_names, attempts_folder)
    for name in names:
        if name in kept:
            continue
        try:
            if await executor.state(name) is AttemptState.RUNNING:
                await executor.cancel(name)
                await executor.wait(name)
            await executor.sweep(name)
            await executor.forget(name)
        except (OSError, ValueError):
            logger.warning("could not remove the leftover attempt folder %s", name, exc_info=True)


def _folder_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
