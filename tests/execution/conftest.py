"""The real engine with processes, in the event loop of the test. To make a run by hand, see tests/factories.py."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from connected_notifier import connected_notifier
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.tables import artifacts, pipeline_runs, run_events, stage_attempts, stage_runs
from app.domain.moves import RUN_FINAL
from app.domain.vocabulary import ExecutorType, RunStatus
from app.execution.drive import AttemptDriver
from app.execution.executors.base import OutputLimits
from app.execution.executors.by_name import Executors
from app.execution.executors.local import LocalExecutor
from app.execution.launch import AttemptLimits
from app.execution.paths import WorkerHome
from app.execution.supervisor import Supervisor, SupervisorLimits
from app.notifications.postgres import PostgresNotifier
from app.services.pipelines import create_pipeline
from app.services.runs import StartRun, cancel_run, start_run
from app.storage.local import LocalStore

PATIENCE_SECONDS = 30.0
LIMITS = SupervisorLimits(
    concurrent_runs=5,
    concurrent_stages=4,
    cpus=4,
    memory_mb=None,
    run_timeout_seconds=60.0,
    lease_seconds=30.0,
    lost_after_seconds=600.0,
    disk_reserve_bytes=0,
)
ATTEMPT_LIMITS = AttemptLimits(
    grace_seconds=0.5, log_limit_bytes=64 << 20, outputs=OutputLimits(total_bytes=10 << 30, files=1000)
)


def python(code: str) -> list[str]:
    """A command that runs this code."""
    return [sys.executable, "-c", code]


def stage(
    name: str, command: Sequence[str] | str = ("true",), needs: Sequence[str] = (), **config: Any
) -> dict[str, Any]:
    """A stage in the shape a user writes."""
    return {
        "name": name,
        "stageType": "DATA_PREPROCESSING",
        "dependencies": list(needs),
        "config": {"command": command if isinstance(command, str) else list(command), **config},
    }


@dataclass
class Engine:
    """Starts runs and waits for what becomes of them."""

    database: AsyncEngine
    notifier: PostgresNotifier
    home: WorkerHome
    limits: SupervisorLimits = LIMITS
    attempt_limits: AttemptLimits = ATTEMPT_LIMITS

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.home.artifacts)

    def __post_init__(self) -> None:
        self.executors = Executors({ExecutorType.LOCAL: LocalExecutor(self.home.attempts)})

    def supervisor(self) -> Supervisor:
        driver = AttemptDriver(self.database, self.notifier, self.executors, self.store, self.attempt_limits)
        return Supervisor(self.database, self.notifier, driver, self.home, self.limits)

    @contextlib.asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """A supervisor works for the time of the block, then is stopped abruptly."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.supervisor().run)
            yield
            tasks.cancel_scope.cancel()

    async def start(self, *stages: Mapping[str, Any], **run: Any) -> uuid.UUID:
        config = run.pop("config", None)
        draft = {"name": "under test", "config": config, "stages": list(stages)}
        pipeline_id = await create_pipeline(self.database, draft)
        return await start_run(self.database, self.notifier, StartRun(pipeline_id, **run))

    async def cancel(self, run_id: uuid.UUID) -> None:
        await cancel_run(self.database, self.notifier, run_id, "not needed any more")

    async def until(self, run_id: uuid.UUID, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Waits until the stage runs by name fulfil a condition."""
        with anyio.fail_after(PATIENCE_SECONDS), self.notifier.listen(f"run:{run_id}") as mailbox:
            while not condition(await self.stages(run_id)):
                await mailbox.wait(0.5)

    async def finished(self, run_id: uuid.UUID) -> sa.Row[Any]:
        """The run's row once it is final."""
        with anyio.fail_after(PATIENCE_SECONDS), self.notifier.listen(f"run:{run_id}") as mailbox:
            while (run := await self.run(run_id)).status not in RUN_FINAL:
                await mailbox.wait(0.5)
        return run

    async def run(self, run_id: uuid.UUID) -> sa.Row[Any]:
        (run,) = await self.rows(sa.select(pipeline_runs).where(pipeline_runs.c.id == run_id))
        return run

    async def stages(self, run_id: uuid.UUID) -> dict[str, Any]:
        statement = sa.select(stage_runs).where(stage_runs.c.pipeline_run_id == run_id)
        return {row.name: row for row in await self.rows(statement.order_by(stage_runs.c.position))}

    async def attempts(self, stage_run_id: uuid.UUID) -> Sequence[sa.Row[Any]]:
        statement = sa.select(stage_attempts).where(stage_attempts.c.stage_run_id == stage_run_id)
        return await self.rows(statement.order_by(stage_attempts.c.attempt))

    async def artifacts(self, stage_run_id: uuid.UUID) -> dict[str, Any]:
        statement = sa.select(artifacts).where(artifacts.c.stage_run_id == stage_run_id)
        return {row.relative_path: row for row in await self.rows(statement)}

    async def events(self, run_id: uuid.UUID) -> Sequence[sa.Row[Any]]:
        statement = sa.select(run_events).where(run_events.c.run_id == run_id)
        return await self.rows(statement.order_by(run_events.c.seq))

    async def log(self, stage_run_id: uuid.UUID) -> bytes:
        """The captured log of the stage run's last attempt."""
        (row, *_) = await self.rows(
            sa.select(artifacts)
            .where(artifacts.c.stage_run_id == stage_run_id, artifacts.c.is_captured_log)
            .order_by(artifacts.c.attempt_number.desc())
        )
        return b"".join([part async for part in self.store.open(row.sha256)])

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        async with self.database.connect() as connection:
            return (await connection.execute(statement)).all()


@pytest.fixture
def worker_home() -> Iterator[WorkerHome]:
    folder = Path(tempfile.mkdtemp(prefix="mlp-worker-"))
    home = WorkerHome(folder)
    home.make()
    yield home
    for path, _, _ in os.walk(folder):
        Path(path).chmod(0o700)
    shutil.rmtree(folder)


@pytest.fixture
async def idle(engine: AsyncEngine, database_url: str, worker_home: WorkerHome) -> AsyncIterator[Engine]:
    """An engine whose supervisor is not running yet."""
    async with connected_notifier(database_url) as notifier:
        yield Engine(engine, notifier, worker_home)


def is_completed(run: sa.Row[Any]) -> bool:
    """The run ended well."""
    return bool(run.status is RunStatus.COMPLETED)
