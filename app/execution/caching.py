"""Reuses the result of an earlier execution of a stage that has the same key.

The worker that is about to start the process decides this: only it has the declared files as the process would read
them, and only then the inputs are known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.reads import cache
from app.database.reads.attempts import Attempt, inputs_of
from app.database.reads.cache import OutputFile
from app.domain.cache.keys import KeyPart, cache_key, digest_of
from app.domain.cache.misses import CacheMiss, MissReason, changed_since
from app.execution.declared_files import FilesUnreadable, digests_of_declared
from app.notifications.notifier import Notifier
from app.services.state import cache_hits
from app.storage.base import ArtifactStore, BlobNotFound


def has_cache(attempt: Attempt) -> bool:
    """Whether the stage is configured to reuse results."""
    return attempt.config.cache is not None


@dataclass(frozen=True)
class StageCache:
    """Looks up earlier executions of stages with a cache, on a host with this store."""

    engine: AsyncEngine
    notifier: Notifier
    store: ArtifactStore

    async def reuses_result(self, attempt: Attempt) -> bool:
        """Whether the stage run has ended by reusing a result; if not, its key is stored before its process starts.

        May be repeated. Two attempts with the same key at the same time do not wait for each other. Raises
        ``FilesUnreadable``.
        """
        if attempt.is_asked_to_stop:
            return False
        key, may_use = await self._key(attempt), attempt.config.cache is None or attempt.config.cache.use
        miss = await self._reuse_result(attempt, key) if may_use else CacheMiss(MissReason.BYPASSED)
        if miss is None:
            return True
        await cache_hits.record_miss(self.engine, self.notifier, attempt.key, key, miss)
        return False

    async def confirm(self, attempt: Attempt) -> None:
        """Withdraws the key if the declared files changed while the process ran: it may have read either version."""
        async with self.engine.connect() as connection:
            key = await cache.key_of(connection, attempt.stage_run_id)
        if key is not None and key[KeyPart.FILES] != await self._files_now(attempt):
            await cache_hits.withdraw_key(self.engine, self.notifier, attempt.key)

    async def _key(self, attempt: Attempt) -> dict[str, Any]:
        files = await _digests(attempt)
        async with self.engine.connect() as connection:
            inputs = await inputs_of(connection, attempt.depends_on)
        return cache_key(
            attempt.config, files, [(file.dependency, file.relative_path, file.sha256) for file in inputs]
        )

    async def _files_now(self, attempt: Attempt) -> dict[str, str] | None:
        try:
            return await _digests(attempt)
        except FilesUnreadable:
            return None

    async def _reuse_result(self, attempt: Attempt, key: dict[str, Any]) -> CacheMiss | None:
        """None if the result of an earlier execution is reused."""
        digest, this = digest_of(key), attempt.stage_run_id
        async with self.engine.connect() as connection:
            source = await cache.execution_with_key(connection, this, digest)
            if source is None:
                last = await cache.last_execution(connection, this)
                return CacheMiss(MissReason.FIRST) if last is None else changed_since(last.key, key)
            outputs = await cache.outputs_of(connection, source)
        if await self._are_stored(outputs) and await cache_hits.reuse_result(
            self.engine, self.notifier, attempt.key, source.stage_run_id, digest
        ):
            return None
        return CacheMiss(MissReason.OUTPUTS_GONE)

    async def _are_stored(self, outputs: Iterable[OutputFile]) -> bool:
        """Whether a dependent could read all of them. The janitor does not remove them while their rows exist."""
        for file in outputs:
            if file.sha256 is None or not file.is_ready:
                return False
            try:
                stored = await self.store.stat(file.sha256)
            except BlobNotFound:
                return False
            if stored.size_bytes != file.size_bytes:
                return False
        return True


async def _digests(attempt: Attempt) -> dict[str, str]:
    return await to_thread.run_sync(digests_of_declared, attempt.config, abandon_on_cancel=True)
