"""Removes what is old: history, ended runs, and everything that nothing refers to any more.

Any number of janitors may be active. One at a time changes the database; each cleans the files of its own home. All
steps are small: no other transaction waits long for a janitor, and a janitor may be killed at any moment.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database import retention
from app.database.retention import EVENTS, LOGS, OLDEST, POINTS, SAMPLES, Age, History, JanitorLockTaken
from app.errors import DomainError
from app.execution.failures import log_failure
from app.execution.leftovers import Leftovers
from app.notifications.notifier import Notifier
from app.services.run_records import delete_run
from app.telemetry import log_context

FIRST_PASS_SECONDS = 20.0
DATABASE_INTERVAL_SECONDS = 300.0
FILES_INTERVAL_SECONDS = 3600.0
DEAD_WORKER_GRACE = timedelta(days=7)
# Much longer than a follower of a stream may lag behind.
DELETED_RUN_NOTES_KEPT = timedelta(days=1)
ROWS_PER_BATCH = 5_000
RUNS_PER_READ = 500
WORKERS_PER_BATCH = 20
PAUSE_SECONDS = 0.01

logger = logging.getLogger(__name__)

_Step = Callable[[Counter[str]], Awaitable[None]]


@dataclass(frozen=True)
class RetentionDays:
    """Days after the end of a run until it, or a part of it, is removed; None means never."""

    runs: float | None = None
    samples: float | None = None
    events: float | None = None
    logs: float | None = None


class Janitor:
    """Cleans up while a supervisor runs; ``run`` does not return until it is cancelled."""

    def __init__(
        self, engine: AsyncEngine, notifier: Notifier, leftovers: Leftovers, keep: RetentionDays
    ) -> None:
        self._engine = engine
        self._notifier = notifier
        self._leftovers = leftovers
        self._keep = keep
        self._visited: dict[str, Age] = {}

    async def run(self) -> None:
        """Cleans up soon after the start, then at intervals, until it is cancelled."""
        await anyio.sleep(FIRST_PASS_SECONDS)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_repeat, self.clean_database, DATABASE_INTERVAL_SECONDS)
            tasks.start_soon(_repeat, self.clean_files, FILES_INTERVAL_SECONDS)

    async def clean_database(self) -> Counter[str]:
        """Removes old rows; returns how many of each kind."""
        return await _all_of(
            self._remove_samples, self._remove_events, self._remove_logs, self._remove_runs, self._remove_rest
        )

    async def clean_files(self) -> Counter[str]:
        """Removes blobs and files that nothing refers to; returns how many of each kind."""
        return await _all_of(
            self._leftovers.remove_unused_blobs,
            self._leftovers.remove_unknown_files,
            self._leftovers.remove_old_attempts,
        )

    async def _remove_samples(self, removed: Counter[str]) -> None:
        await self._remove_history(SAMPLES, self._keep.samples, removed)

    async def _remove_events(self, removed: Counter[str]) -> None:
        await self._remove_history(EVENTS, self._keep.events, removed)

    async def _remove_logs(self, removed: Counter[str]) -> None:
        await self._remove_history(LOGS, self._keep.logs, removed)

    async def _remove_history(self, history: History, days: float | None, removed: Counter[str]) -> None:
        """Continues where the previous pass ended: an ended run gets no more rows."""
        while days is not None:
            async with retention.janitor_lock(self._engine) as connection:
                until = await retention.days_ago(connection, days)
                last = self._visited.get(history.name, OLDEST)
                runs = await retention.ended_runs(connection, last, until, RUNS_PER_READ)
            if not runs:
                return
            await self._empty(history, runs, removed)
            self._visited[history.name] = runs[-1]

    async def _empty(self, history: History, runs: Sequence[Age], removed: Counter[str]) -> None:
        run_ids = [run.run_id for run in runs]

        async def step(connection: AsyncConnection) -> int:
            return await retention.remove_history(connection, history, run_ids, ROWS_PER_BATCH)

        await self._until_all_are_gone(step, ROWS_PER_BATCH, history.name, removed)

    async def _remove_runs(self, removed: Counter[str]) -> None:
        last = OLDEST
        while self._keep.runs is not None:
            async with retention.janitor_lock(self._engine) as connection:
                until = await retention.days_ago(connection, self._keep.runs)
                runs = await retention.expired_runs(connection, last, until, RUNS_PER_READ)
            if not runs:
                return
            for run in runs:
                with log_context(run_id=run.run_id):
                    await self._remove_run(run, removed)
            last = runs[-1]

    async def _remove_run(self, run: Age, removed: Counter[str]) -> None:
        """Removes its many rows first, so that no transaction is long."""
        await self._empty(SAMPLES, [run], removed)
        await self._empty(POINTS, [run], removed)
        await self._empty(EVENTS, [run], removed)
        async with retention.janitor_lock(self._engine):
            try:
                await delete_run(self._engine, self._notifier, run.run_id)
                removed["runs"] += 1
            except DomainError as refusal:
                logger.debug("run %s is not removed: %s", run.run_id, refusal.message)

    async def _remove_rest(self, removed: Counter[str]) -> None:
        async def workers(connection: AsyncConnection) -> int:
            return await retention.remove_dead_workers(connection, DEAD_WORKER_GRACE, WORKERS_PER_BATCH)

        async def stages(connection: AsyncConnection) -> int:
            return await retention.remove_retired_stages(connection, ROWS_PER_BATCH)

        async def notes(connection: AsyncConnection) -> int:
            return await retention.remove_deletion_records(connection, DELETED_RUN_NOTES_KEPT, ROWS_PER_BATCH)

        await self._until_all_are_gone(workers, WORKERS_PER_BATCH, "workers", removed)
        await self._until_all_are_gone(stages, ROWS_PER_BATCH, "retired stages", removed)
        await self._until_all_are_gone(notes, ROWS_PER_BATCH, "notes of deleted runs", removed)

    async def _until_all_are_gone(
        self,
        step: Callable[[AsyncConnection], Awaitable[int]],
        batch_size: int,
        what: str,
        removed: Counter[str],
    ) -> None:
        """Repeats a step in transactions of its own until it removes less than a whole batch."""
        while True:
            async with retention.janitor_lock(self._engine) as connection:
                count = await step(connection)
            removed[what] += count
            if count < batch_size:
                return
            await anyio.sleep(PAUSE_SECONDS)


async def _repeat(clean: Callable[[], Awaitable[Counter[str]]], interval_seconds: float) -> None:
    while True:
        removed = await clean()
        if removed:
            logger.info("removed %s", ", ".join(f"{count} {what}" for what, count in removed.items()))
        await anyio.sleep(interval_seconds)


async def _all_of(*steps: _Step) -> Counter[str]:
    """What the steps removed; one that fails, or finds the janitor lock taken, is left to the next pass."""
    removed: Counter[str] = Counter()
    for step in steps:
        try:
            await step(removed)
        except JanitorLockTaken:
            logger.debug("another process holds the janitor lock")
        except Exception as error:
            log_failure(logger, "clean up", error)
    return +removed
