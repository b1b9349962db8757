"""Removes what nothing refers to any more from a worker's disk and store: blobs, unfinished copies, files of attempts.

A blob is removed in two steps: its row, if it was not published lately, then its bytes, if they were not put lately.
A publisher puts the bytes first and publishes them well within the grace time, so neither step removes its blob.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import retention
from app.database.reads.attempts import attempts_of_host
from app.execution.executors.base import AttemptState
from app.execution.executors.by_name import Executors
from app.execution.failures import isolated
from app.execution.paths import WorkerHome
from app.storage.base import ArtifactStore

logger = logging.getLogger(__name__)

BLOB_GRACE = timedelta(days=1)
BLOBS_PER_BATCH = 500
ATTEMPT_GRACE_SECONDS = 3600.0


@dataclass(frozen=True)
class Leftovers:
    """Cleans up the executors and the store of one worker."""

    engine: AsyncEngine
    executors: Executors
    store: ArtifactStore
    home: WorkerHome

    async def remove_unused_blobs(self, removed: Counter[str]) -> None:
        """Blobs that no artifact refers to: rows of the whole database, bytes in this store."""
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
        """Bytes in the store without a row: their publisher died, or the row was removed on another host."""
        async for digests in self.store.old_blobs(BLOB_GRACE.total_seconds()):
            async with self.engine.connect() as connection:
                unknown = await retention.unknown_blobs(connection, digests)
            removed["files without a blob"] += await self._delete_files(sorted(unknown))
        removed["unfinished copies"] += await self.store.remove_unfinished()

    async def remove_old_attempts(self, removed: Counter[str]) -> None:
        """Files of attempts that have ended: the supervisor removes them itself unless something fails."""
        found = [(executor, await executor.leftovers(ATTEMPT_GRACE_SECONDS)) for executor in self.executors]
        # Read after the files: an attempt that begins in between is not among them.
        async with self.engine.connect() as connection:
            current = {attempt.id for attempt in await attempts_of_host(connection, self.home.host_id())}
        for executor, attempt_ids in found:
            for attempt_id in attempt_ids:
                if attempt_id in current or await executor.state(attempt_id) is AttemptState.RUNNING:
                    continue
                with isolated(logger, f"remove the files of attempt {attempt_id}"):
                    await executor.sweep(attempt_id)
                    await executor.forget(attempt_id)
                    removed["folders of attempts"] += 1

    async def _delete_files(self, digests: list[str]) -> int:
        grace_seconds = BLOB_GRACE.total_seconds()
        return sum([await self.store.delete(digest, older_than_seconds=grace_seconds) for digest in digests])
