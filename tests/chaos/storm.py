"""One seed: the load and the faults of its plan, then the wait until every run is final."""

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
"""Longest time without an event while runs are not final: no machine is that slow."""

BACKLOG_LIMIT = 8
"""Longest backlog of runs that are not final: more would only delay the end of the test."""

SAMPLE_SECONDS = 0.5


@dataclass
class Storm:
    """``ledger`` is the file that the stages write; ``watch`` and ``client.promises`` hold the observations."""

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
    """Longest time without an event after the last fault while runs were not final."""
    left: list[str] = field(default_factory=list)
    """Processes of attempts that still existed after all runs were final."""
    _pipelines: dict[str, str] = field(default_factory=dict)
    _keys: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def run(self) -> None:
        self.ledger.touch()
        await self._make_ready()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_sampling)
            async with anyio.create_task_group() as requests:
                requests.start_soon(self._send_requests, requests)
                await self.cluster.inject(self.plan.faults)
                ended = time.monotonic()
                requests.cancel_scope.deadline = anyio.current_time() + PATIENCE_SECONDS
            await self._drain(ended)
            tasks.cancel_scope.cancel()
        await self._wait_for_processes()

    async def _make_ready(self) -> None:
        """Wait until all processes work: faults during the start would prove little."""
        with anyio.fail_after(2 * PATIENCE_SECONDS):
            while not await self._all_workers_registered():  # noqa: ASYNC110 (other processes)
                await anyio.sleep(0.1)
            for name in PIPELINES:
                self._pipelines[name] = await self.client.create_pipeline(draft(name, self.ledger))

    async def _all_workers_registered(self) -> bool:
        try:
            async with self.engine.connect() as connection:
                hosts = await connection.execute(sa.select(workers_table.c.host_id).distinct())
                return len(hosts.all()) == len(self.cluster.workers)
        except sa.exc.DBAPIError:
            return False  # the tables are still being created

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

    async def _keep_sampling(self) -> None:
        while True:
            with contextlib.suppress(sa.exc.DBAPIError, OSError):  # the database is down
                await self.watch.sample(self.engine)
            await anyio.sleep(SAMPLE_SECONDS)

    async def _drain(self, ended: float) -> None:
        """Wait until every run is final, or no event has come for ``STANDSTILL_SECONDS``."""
        samples, events, moved_at = self.watch.samples, self.watch.events, time.monotonic()
        while self.watch.samples <= samples + 1 or self.watch.unfinished:
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
        """Wait until no processes but the servers and the workers are left."""
        allowed = len(self.cluster.targets)
        with anyio.move_on_after(PATIENCE_SECONDS):
            while len(processes_of(self.cluster.folder)) > allowed:  # noqa: ASYNC110 (they can't signal us)
                await anyio.sleep(0.2)
        if len(found := processes_of(self.cluster.folder)) > allowed:
            self.left = found
