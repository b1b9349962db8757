"""The engine's loop: claims runs and stages, drives attempts, stops what is to be stopped.

It keeps no state that matters: everything it knows is in rows, in attempt folders and in the locks their runners
hold, so it may be killed at any moment and started again.
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

from app.broker.postgres import Broker
from app.database.attempts import Attempt, attempt_in_hand, attempts_to_stop
from app.database.claims import work_at_hand
from app.execution import worker
from app.execution.adopt import adopt_attempts, clear_leftovers
from app.execution.drive import AttemptDriver
from app.execution.paths import WorkerHome
from app.services import transitions

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
RECOVERY_SECONDS = 1.0
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class SupervisorLimits:
    """How much may run at once, and how long a run without a limit of its own may take."""

    concurrent_runs: int
    concurrent_stages: int
    run_timeout_seconds: float


class Supervisor:
    """Supervises one ``WorkerHome``; ``run`` never returns by itself."""

    def __init__(
        self,
        engine: AsyncEngine,
        broker: Broker,
        driver: AttemptDriver,
        home: WorkerHome,
        limits: SupervisorLimits,
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._driver = driver
        self._home = home
        self._limits = limits
        self._worker_id: uuid.UUID | None = None
        self._driven: set[uuid.UUID] = set()
        self._pause_seconds = POLL_SECONDS
        self._last_pass_at = float("-inf")

    @property
    def seconds_since_pass(self) -> float:
        """How long ago the loop last went round without an error; infinite before the first time."""
        return anyio.current_time() - self._last_pass_at

    async def run(self) -> None:
        """Waits for the home to be free, adopts what runs there, then goes on until it is cancelled."""
        async with self._home.supervised(), anyio.create_task_group() as tasks, self._registered():
            tasks.start_soon(self._keep_lease)
            await self._until_done("adopt attempts", self._adopt, tasks)
            with self._broker.listen("work") as hints:
                while True:
                    await self._until_done("look for work", self._pass, tasks)
                    await hints.wait(self._pause_seconds)

    @contextlib.asynccontextmanager
    async def _registered(self) -> AsyncIterator[None]:
        await self._until_done("register", self._register)
        try:
            yield
        finally:
            with anyio.move_on_after(STOP_SECONDS, shield=True):
                await worker.release(self._engine, self._id)

    @property
    def _id(self) -> uuid.UUID:
        assert self._worker_id is not None
        return self._worker_id

    async def _until_done(self, what: str, step: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Repeats a step that failed: the engine outlives any outage of the database."""
        while True:
            try:
                await step(*args)
                return
            except Exception:
                logger.exception(
                    "the supervisor could not %s; it tries again",
                    getattr(step, "__name__", "step").strip("_"),
                )
                await anyio.sleep(RECOVERY_SECONDS)

    async def _register(self) -> None:
        self._worker_id = await worker.register(
            self._engine, self._home.host_id(), self._limits.concurrent_stages
        )

    async def _keep_lease(self) -> None:
        while True:
            await anyio.sleep(worker.HEARTBEAT_SECONDS)
            await self._until_done("renew its lease", self._renew)

    async def _renew(self) -> None:
        if not await worker.renew(self._engine, self._id):
            logger.warning("the lease of worker %s ran out; coming back under a new id", self._id)
            await self._register()
            await adopt_attempts(self._engine, self._broker, self._home.host_id(), self._id)

    async def _adopt(self, tasks: TaskGroup) -> None:
        found = await adopt_attempts(self._engine, self._broker, self._home.host_id(), self._id)
        for attempt in found:
            self._start_driving(tasks, attempt)
        await clear_leftovers(self._driver.executor, self._home.attempts, found)

    async def _pass(self, tasks: TaskGroup) -> None:
        async with self._engine.connect() as connection:
            work = await work_at_hand(connection, self._id)
        if work.pending_runs:
            await self._start_runs()
        if work.overdue_runs:
            await self._stop_overdue_runs()
        if work.stages_to_stop:
            await self._stop_attempts()
        if work.ready_stages or work.pending_runs:
            await self._claim_stages(tasks)
        retry = work.seconds_to_next_retry
        self._pause_seconds = POLL_SECONDS if retry is None else max(0.01, min(retry, POLL_SECONDS))
        self._last_pass_at = anyio.current_time()

    async def _start_runs(self) -> None:
        while await transitions.start_next_run(
            self._engine,
            self._broker,
            self._id,
            running_limit=self._limits.concurrent_runs,
            default_timeout_seconds=self._limits.run_timeout_seconds,
        ):
            pass

    async def _stop_overdue_runs(self) -> None:
        for run_id in await transitions.overdue_runs(self._engine):
            await transitions.stop_overdue_run(self._engine, self._broker, run_id)

    async def _stop_attempts(self) -> None:
        """Tells runners what the rows say, again and again until they have ended: a signal may be lost."""
        async with self._engine.connect() as connection:
            attempt_ids = await attempts_to_stop(connection, self._id)
        for attempt_id in attempt_ids:
            await self._driver.executor.cancel(attempt_id)

    async def _claim_stages(self, tasks: TaskGroup) -> None:
        while len(self._driven) < self._limits.concurrent_stages:
            stage_run_id = await transitions.claim_next_stage(
                self._engine, self._broker, self._id, self._home.host_id()
            )
            if stage_run_id is None:
                return
            async with self._engine.connect() as connection:
                attempt = await attempt_in_hand(connection, stage_run_id)
            if attempt is not None:
                self._start_driving(tasks, attempt)

    def _start_driving(self, tasks: TaskGroup, attempt: Attempt) -> None:
        if attempt.stage_run_id not in self._driven:
            self._driven.add(attempt.stage_run_id)
            tasks.start_soon(self._drive, attempt, name=f"drive {attempt.id}")

    async def _drive(self, attempt: Attempt) -> None:
        try:
            await self._driver.drive(attempt)
        finally:
            self._driven.discard(attempt.stage_run_id)
            self._broker.publish_local("work")
