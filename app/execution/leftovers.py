"""What is on a worker's disk although nothing refers to it any more: blobs, unfinished copies, folders of attempts.

A blob goes in two steps: its row, which nobody publishes at the moment, then its file, which nobody put lately. Who
stores a file puts it first and publishes it well within the grace time, so neither step can take it away.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from anyio import to_thread
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import retention
from app.database.reads.attempts import attempts_of_host
from app.domain.attempts import AttemptId
from app.execution.executors.base import AttemptState, Executor
from app.execution.failures import isolated
from app.execution.paths import WorkerHome
from app.storage.local import LocalStore

logger = logging.getLogger(__name__)

BLOB_GRACE = timedelta(days=1)
BLOBS_PER_BATCH = 500
FOLDER_GRACE_SECONDS = 3600.0


@dataclass(frozen=True)
class Leftovers:
    """Looks after the files of one home."""

    engine: AsyncEngine
    executor: Executor
    store: LocalStore
    home: WorkerHome

    async def remove_unused_blobs(self, removed: Counter[str]) -> None:
        """Blobs no artifact refers to: rows of the whole database, files of this home."""
        while True:
            async with retention.janitor_lock(self.engine) as connection:
                digests = await retention.remove_unused_blobs(
                    connection, self.store.storage_type, BLOB_GRACE, BLOBS_PER_BATCH
                )
            removed["blobs"] += len(digests)
            await self._delete_files(digests)
            if len(digests) < BLOBS_PER_BATCH:
                return

    async def remove_unknown_files(self, removed: Counter[str]) -> None:
        """Files of the store that no row names: their publisher died, or their row went while we were away."""
        async for digests in self.store.old_blobs(BLOB_GRACE.total_seconds()):
            async with self.engine.connect() as connection:
                unknown = await retention.unknown_blobs(connection, digests)
            removed["files without a blob"] += await self._delete_files(sorted(unknown))
        removed["unfinished copies"] += await self.store.sweep_temporary()

    async def remove_old_attempts(self, removed: Counter[str]) -> None:
        """Folders of attempts that ended; the supervisor removes them itself unless something went wrong."""
        found = await to_thread.run_sync(_old_attempts, self.home.attempts)
        async with self.engine.connect() as connection:
            current = {attempt.id for attempt in await attempts_of_host(connection, self.home.host_id())}
        for attempt_id in found:
            if attempt_id in current or await self.executor.state(attempt_id) is AttemptState.RUNNING:
                continue
            with isolated(logger, f"remove the leftover attempt folder {attempt_id}"):
                await self.executor.sweep(attempt_id)
                await self.executor.forget(attempt_id)
                removed["folders of attempts"] += 1

    async def _delete_files(self, digests: list[str]) -> int:
        grace_seconds = BLOB_GRACE.total_seconds()
        return sum([await self.store.delete(digest, older_than_seconds=grace_seconds) for digest in digests])


def _old_attempts(folder: Path) -> list[str]:
    oldest = time.time() - FOLDER_GRACE_SECONDS
    attempts = [path for path in folder.iterdir() if AttemptId.parse(path.name) is not None]
    return [path.name for path in attempts if path.stat().st_mtime < oldest]
