"""One seed at work: the load and the faults of its plan, then the time in which everything must come to its end."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import sqlalchemy as sa
from anyio.abc import TaskGroup
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.tables import workers as workers_table
from tests.chaos.client import Client
from tests.chaos.cluster import Cluster
from tests.chaos.evidence import Watch
from tests.chaos.load import PIPELINES, draft
from tests.chaos.plan import Plan, Request
from tests.chaos.processes import processes_of

PATIENCE_SECONDS = 60.0
STANDSTILL_SECONDS = 30.0
"""Without any event while runs are not final: no machine is that slow."""

BACKLOG_LIMIT = 8
"""Runs that are not final; more would only make the end slower."""

LOOK_SECONDS = 0.5


@dataclass
class Storm:
    """``ledger`` is the file the stages write to; ``watch`` and ``client.promises`` hold what was seen."""

    plan: Plan
    engine: AsyncEngine
    cluster: Cluster
    client: Client
    watch: Watch
    ledger: Path
    late: int = 0
    """Runs that were not final ``PATIENCE_SECONDS`` after the last fault."""
    drained_seconds: float = 0.0
    longest_pause_seconds: float = 0.0
    """In which no event came although runs were not final and the faults were over."""
    left: list[str] = field(default_factory=list)
    """Processes of attempts that were still there when they should have gone."""
    _pipelines: dict[str, str] = field(default_factory=dict)
    _keys: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def rage(self) -> None:
        self.ledger.touch()
        await self._make_ready()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_looking)
            async with anyio.create_task_group() as requests:
                requests.start_soon(self._send_requests, requests)
                await self.cluster.rage(self.plan.faults)
                ended = time.monotonic()
                requests.cancel_scope.deadline = anyio.current_time() + PATIENCE_SECONDS
            await self._drain(ended)
            tasks.cancel_scope.cancel()
        await self._wait_for_processes()

    async def _make_ready(self) -> None:
        """Faults of processes that are still starting would prove little."""
        with anyio.fail_after(2 * PATIENCE_SECONDS):
            while not await self._all_work():  # noqa: ASYNC110 (other processes)
                await anyio.sleep(0.1)
            for name in PIPELINES:
                self._pipelines[name] = await self.client.create_pipeline(draft(name, self.ledger))

    async def _all_work(self) -> bool:
        try:
            async with self.engine.connect() as connection:
                hosts = await connection.execute(sa.select(workers_table.c.host_id).distinct())
                return len(hosts.all()) == len(self.cluster.workers)
        except sa.exc.DBAPIError:
            return False  # the tables are still being made

    async def _send_requests(self, tasks: TaskGroup) -> None:
        began = anyio.current_time()
        for request in self.plan.requests:
            await anyio.sleep_until(began + request.at_seconds)
            if self.watch.unfinished + self.client.promises.unanswered < BACKLOG_LIMIT:
                tasks.start_soon(self._send, request, f"{self.plan.seed}-{next(self._keys)}")

    async def _send(self, request: Request, key: str) -> None:
        pipeline_id = self._pipelines[request.pipeline]
        run_id = await self.client.start_run(pipeline_id, key)
        if request.cancel_after_seconds is not None:
            await anyio.sleep(request.cancel_after_seconds)
            await self.client.cancel_run(run_id)
        if request.is_sent_again:
            await self.client.start_run(pipeline_id, key)

    async def _keep_looking(self) -> None:
        while True:
            with contextlib.suppress(sa.exc.DBAPIError, OSError):  # the database is away
                await self.watch.look(self.engine)
            await anyio.sleep(LOOK_SECONDS)

    async def _drain(self, ended: float) -> None:
        """Until every run is final, or nothing has happened for a long time."""
        looks, events, moved_at = self.watch.looks, self.watch.events, time.monotonic()
        while self.watch.looks <= looks + 1 or self.watch.unfinished:
            now = time.monotonic()
            self.longest_pause_seconds = max(self.longest_pause_seconds, now - moved_at)
            if self.watch.events != events:
                events, moved_at = self.watch.events, now
            if not self.late and now - ended > PATIENCE_SECONDS:
                self.late = self.watch.unfinished
            if now - max(moved_at, ended) > STANDSTILL_SECONDS:
                break
            await anyio.sleep(0.1)
        self.drained_seconds = time.monotonic() - ended

    async def _wait_for_processes(self) -> None:
        """Nothing but servers and workers may stay."""
        allowed = len(self.cluster.targets)
        with anyio.move_on_after(PATIENCE_SECONDS):
            while len(processes_of(self.cluster.folder)) > allowed:  # noqa: ASYNC110 (they can't signal us)
                await anyio.sleep(0.2)
        if len(found := processes_of(self.cluster.folder)) > allowed:
            self.left = found
