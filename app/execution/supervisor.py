"""The engine's loop: claims runs and stages, drives attempts, and stops those that are to end.

It has no state that matters: everything is in rows and in the executors. It may be killed at any moment and started
again.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup
from sqlalchemy.ext.asyncio import AsyncEngine
from tenacity import AsyncRetrying, RetryCallState, wait_fixed

from app.database.claims import PendingWork, pending_work
from app.database.engine import without_transactions
from app.database.reads.attempts import Attempt, attempts_to_stop, lost_attempts, unschedulable_stages
from app.domain.attempts import AttemptKey
from app.execution import worker
from app.execution.adopt import adopt_attempts, clear_leftover, leftovers
from app.execution.drive import AttemptDriver
from app.execution.executors.base import AttemptState
from app.execution.failures import isolated, log_failure
from app.execution.paths import WorkerHome
from app.notifications.postgres import PostgresNotifier
from app.notifications.topics import WORK
from app.services.state import claims, losses, stop_requests, unschedulable
from app.storage.disk import DiskReserve

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
RECOVERY_SECONDS = 1.0
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class SupervisorLimits:
    """What a supervisor may run at the same time, and its time limits."""

    concurrent_runs: int
    """Of all workers together; the other limits are of this worker."""
    concurrent_stages: int
    cpus: float
    memory_mb: int | None
    """None: no limit."""
    run_timeout_seconds: float
    """For runs without a limit of their own."""
    lease_seconds: float
    lost_after_seconds: float
    """From the end of a host's lease until its attempts are declared lost."""
    disk_reserve_bytes: int


class Supervisor:
    """Supervises one ``WorkerHome``; ``run`` does not return until it is cancelled."""

    def __init__(
        self,
        engine: AsyncEngine,
        notifier: PostgresNotifier,
        driver: AttemptDriver,
        home: WorkerHome,
        limits: SupervisorLimits,
    ) -> None:
        self._engine = engine
        self._reads = without_transactions(engine)
        self._notifier = notifier
        self._driver = driver
        self._executors = driver.executors
        self._home = home
        self._limits = limits
        self._disk = DiskReserve(home.root, limits.disk_reserve_bytes)
        self._had_room = True
        self._worker_id: uuid.UUID | None = None
        self._adopted_as: uuid.UUID | None = None
        self._driven: set[str] = set()
        self._pause_seconds = POLL_SECONDS
        self._last_pass_at = anyio.current_time()

    @property
    def seconds_since_pass(self) -> float:
        """Seconds since the last pass without an error; before the first pass, since the start."""
        return anyio.current_time() - self._last_pass_at

    async def run(self) -> None:
        """Waits until the home is free, adopts the attempts there, then works until it is cancelled."""
        async with self._home.supervised(), anyio.create_task_group() as tasks, self._registered():
            tasks.start_soon(self._keep_lease)
            await self._until_done("adopt attempts", self._adopt, tasks)
            with self._notifier.listen(WORK) as mailbox:
                while True:
                    await self._until_done("look for work", self._pass, tasks)
                    await mailbox.wait(self._pause_seconds)

    @contextlib.asynccontextmanager
    async def _registered(self) -> AsyncIterator[None]:
        await self._until_done("register", self._register)
        try:
            yield
        finally:
            with anyio.move_on_after(STOP_SECONDS, shield=True):
                await self._release()

    async def _release(self) -> None:
        try:
            await worker.release(self._engine, self._id)
        except Exception as error:  # then the lease ends by itself
            logger.warning("could not end its lease: %r", error)

    @property
    def _id(self) -> uuid.UUID:
        assert self._worker_id is not None
        return self._worker_id

    async def _until_done(self, what: str, step: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Repeats a step until it succeeds: the engine outlives outages of the database."""

        def log(state: RetryCallState) -> None:
            error = state.outcome and state.outcome.exception()
            assert isinstance(error, Exception)
            log_failure(logger, what, error)

        await AsyncRetrying(wait=wait_fixed(RECOVERY_SECONDS), before_sleep=log)(step, *args)

    async def _register(self) -> None:
        self._worker_id = await worker.register(
            self._engine,
            self._home.host_id(),
            self._limits.concurrent_stages,
            cpus=self._limits.cpus,
            memory_mb=self._limits.memory_mb,
            lease_seconds=self._limits.lease_seconds,
        )

    async def _keep_lease(self) -> None:
        while True:
            await anyio.sleep(self._limits.lease_seconds / worker.HEARTBEATS_PER_LEASE)
            await self._until_done("renew its lease", self._renew)

    async def _renew(self) -> None:
        if await worker.renew(self._engine, self._id, self._limits.lease_seconds):
            return
        logger.warning("the lease of worker %s has ended; it registers under a new id", self._id)
        await self._register()
        self._notifier.publish_local(WORK)

    async def _adopt_attempts(self) -> list[Attempt]:
        """Not called where the lease is renewed, because it waits for the locks of runs."""
        worker_id = self._id
        found = await adopt_attempts(self._engine, self._notifier, self._home.host_id(), worker_id)
        self._adopted_as = worker_id
        return found

    async def _adopt(self, tasks: TaskGroup) -> None:
        found = await self._adopt_attempts()
        for attempt in found:
            self._start_driving(tasks, attempt.id)
        for executor in self._executors:
            for attempt_id in await leftovers(executor, found):
                tasks.start_soon(clear_leftover, executor, attempt_id)

    async def _pass(self, tasks: TaskGroup) -> None:
        if self._adopted_as != self._id:
            await self._adopt_attempts()
        async with self._reads.connect() as connection:
            work = await pending_work(connection, self._home.host_id(), self._limits.lost_after_seconds)
        await self._reconcile(tasks, work)
        if work.overdue_runs:
            await self._stop_overdue_runs()
        if work.stages_to_stop:
            await self._stop_attempts()
        if work.lost_attempts:
            await self._declare_lost()
        has_room = self._has_room()
        if work.pending_runs and has_room:
            await self._start_runs()
        if work.unschedulable_stages:
            await self._fail_unschedulable_stages()
        if has_room and (work.ready_stages or work.pending_runs):
            await self._claim_stages(tasks)
        retry = work.seconds_to_next_retry
        self._pause_seconds = POLL_SECONDS if retry is None else max(0.01, min(retry, POLL_SECONDS))
        self._last_pass_at = anyio.current_time()

    async def _reconcile(self, tasks: TaskGroup, work: PendingWork) -> None:
        """Cancels driven attempts that are not current any more, and drives current ones without a driver.

        The first happens after a host was silent for too long, the second after the answer to a claim was lost.
        """
        for attempt_id in self._driven.difference(work.active_attempts):
            await self._cancel_superseded(attempt_id)
        for attempt_id in work.active_attempts - self._driven:
            self._start_driving(tasks, attempt_id)

    def _has_room(self) -> bool:
        """Whether the disk has space for new work. Logs each change; active attempts go on in any case."""
        shortage = self._disk.shortage()
        has_room = shortage is None
        if self._had_room and not has_room:
            logger.warning("the disk of %s: %s", self._home.root, shortage)
        elif has_room and not self._had_room:
            logger.info("the disk of %s has room again", self._home.root)
        self._had_room = has_room
        return has_room

    async def _start_runs(self) -> None:
        while await claims.start_next_run(
            self._engine,
            self._notifier,
            self._id,
            running_limit=self._limits.concurrent_runs,
            default_timeout_seconds=self._limits.run_timeout_seconds,
        ):
            pass

    async def _stop_overdue_runs(self) -> None:
        for run_id in await stop_requests.overdue_runs(self._engine):
            with isolated(logger, f"stop run {run_id}", run_id=run_id):
                await stop_requests.stop_overdue_run(self._engine, self._notifier, run_id)

    async def _stop_attempts(self) -> None:
        """Repeats the cancel of each attempt until it has ended: a signal may be lost."""
        async with self._engine.connect() as connection:
            attempts = await attempts_to_stop(connection, self._home.host_id())
        for attempt_id, executor_name in attempts:
            with isolated(logger, f"cancel attempt {attempt_id}"):
                await self._executors[executor_name].cancel(attempt_id)

    async def _cancel_superseded(self, attempt_id: str) -> None:
        for executor in self._executors:
            # In any other state its driver is about to finish, and may be removing its files.
            if await executor.state(attempt_id) is AttemptState.RUNNING:
                with isolated(logger, f"cancel attempt {attempt_id}"):
                    await executor.cancel(attempt_id)

    async def _declare_lost(self) -> None:
        async with self._engine.connect() as connection:
            found = await lost_attempts(connection, self._limits.lost_after_seconds)
        for key in found:
            with isolated(logger, f"declare attempt {key} lost", **key.log_ids):
                await self._declare_one_lost(key)

    async def _declare_one_lost(self, key: AttemptKey) -> None:
        if await losses.declare_lost(
            self._engine,
            self._notifier,
            self._id,
            key,
            lost_after_seconds=self._limits.lost_after_seconds,
            lease_seconds=self._limits.lease_seconds,
        ):
            logger.warning("attempt %s is lost: the lease of its host has ended", key)

    async def _fail_unschedulable_stages(self) -> None:
        lost_after_seconds = self._limits.lost_after_seconds
        async with self._engine.connect() as connection:
            found = await unschedulable_stages(connection, lost_after_seconds)
        for run_id, stage_run_id in found:
            with isolated(
                logger,
                f"fail unschedulable stage run {stage_run_id}",
                run_id=run_id,
                stage_run_id=stage_run_id,
            ):
                await unschedulable.fail_unschedulable_stage(
                    self._engine, self._notifier, self._id, run_id, stage_run_id, lost_after_seconds
                )

    async def _claim_stages(self, tasks: TaskGroup) -> None:
        while len(self._driven) < self._limits.concurrent_stages:
            key = await claims.claim_next_stage(self._engine, self._notifier, self._id, self._home.host_id())
            if key is None:
                return
            self._start_driving(tasks, str(key))

    def _start_driving(self, tasks: TaskGroup, attempt_id: str) -> None:
        if attempt_id not in self._driven:
            self._driven.add(attempt_id)
            tasks.start_soon(self._drive, attempt_id, name=f"drive {attempt_id}")

    async def _drive(self, attempt_id: str) -> None:
        try:
            await self._driver.drive(attempt_id)
        finally:
            self._driven.discard(attempt_id)
            self._notifier.publish_local(WORK)
