"""Wires everything that needs no graph: what the API and a worker share, and the parts of a worker."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import migrations
from app.database.engine import check_reachable, create_engine
from app.domain.vocabulary import ExecutorType
from app.errors import StartupError
from app.execution.drive import AttemptDriver
from app.execution.executors.base import OutputLimits
from app.execution.executors.by_name import Executors
from app.execution.executors.local import LocalExecutor
from app.execution.janitor import Janitor, RetentionDays
from app.execution.launch import AttemptLimits
from app.execution.leftovers import Leftovers
from app.execution.paths import WorkerHome
from app.execution.scheduler import Scheduler
from app.execution.supervisor import Supervisor, SupervisorLimits
from app.notifications.postgres import PostgresNotifier
from app.postgres.errors import EmbeddedPostgresError
from app.postgres.server import EmbeddedPostgres
from app.settings import Settings
from app.storage.base import ArtifactStore
from app.storage.local import LocalStore


@dataclass(frozen=True)
class Parts:
    """What the API and the worker share, for the life of the process."""

    settings: Settings
    database_url: str
    engine: AsyncEngine
    notifier: PostgresNotifier
    store: ArtifactStore
    executors: Executors
    home: WorkerHome


@contextlib.asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[tuple[AsyncEngine, str]]:
    """The engine and the URL of the configured or embedded database, which is reachable but not migrated yet."""
    async with contextlib.AsyncExitStack() as stack:
        url = settings.database_url
        if url is None:
            url = await stack.enter_async_context(_embedded_postgres(settings))
        engine = create_engine(url, pool_size=settings.database_pool_size)
        stack.push_async_callback(engine.dispose)
        await check_reachable(engine)
        yield engine, url


@contextlib.asynccontextmanager
async def _embedded_postgres(settings: Settings) -> AsyncIterator[str]:
    server = EmbeddedPostgres(settings.home)
    try:
        url = await server.start()
    except EmbeddedPostgresError as error:
        raise StartupError(str(error)) from error
    try:
        async with server.kept_running():
            yield url
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """The shared parts, on a migrated database."""
    home = WorkerHome(settings.home)
    _make(home)
    async with database(settings) as (engine, url):
        await migrations.upgrade(engine)
        async with PostgresNotifier(url) as notifier:
            executors = Executors({ExecutorType.LOCAL: LocalExecutor(home.attempts)})
            yield Parts(settings, url, engine, notifier, LocalStore(home.artifacts), executors, home)


def _make(home: WorkerHome) -> None:
    try:
        home.make()
    except OSError as error:
        raise StartupError(
            f"MLP_HOME={home.root} can't be used ({error.strerror}): name a folder that this user may write to"
        ) from None


def create_supervisor(parts: Parts) -> Supervisor:
    """The supervisor of this host, which executes runs."""
    settings = parts.settings
    limits = AttemptLimits(
        grace_seconds=settings.grace_seconds,
        log_limit_bytes=settings.stage_log_limit_bytes,
        outputs=OutputLimits(settings.artifact_limit_bytes, settings.artifact_limit_files),
    )
    driver = AttemptDriver(parts.engine, parts.notifier, parts.executors, parts.store, limits)
    return Supervisor(
        parts.engine,
        parts.notifier,
        driver,
        parts.home,
        SupervisorLimits(
            concurrent_runs=settings.max_concurrent_pipelines,
            concurrent_stages=settings.max_concurrent_stages,
            run_timeout_seconds=settings.pipeline_timeout,
            disk_reserve_bytes=settings.disk_reserve_bytes,
            cpus=settings.claimable_cpus,
            memory_mb=settings.worker_memory_mb,
            lease_seconds=settings.lease_seconds,
            lost_after_seconds=settings.lost_after_seconds,
        ),
    )


def create_janitor(parts: Parts) -> Janitor:
    """The janitor, which cleans up the database and the files of this host."""
    settings = parts.settings
    keep = RetentionDays(
        runs=settings.run_retention_days,
        samples=settings.sample_retention_days,
        events=settings.event_retention_days,
        logs=settings.log_retention_days,
    )
    return Janitor(
        parts.engine, parts.notifier, Leftovers(parts.engine, parts.executors, parts.store, parts.home), keep
    )


def create_scheduler(parts: Parts) -> Scheduler:
    """The scheduler, which starts the runs of schedules."""
    return Scheduler(parts.engine, parts.notifier, parts.settings.environment)


def start_worker(parts: Parts, tasks: TaskGroup) -> Supervisor:
    """Start what executes runs on this host, cleans up, and starts the runs of schedules: tasks that never end."""
    supervisor = create_supervisor(parts)
    tasks.start_soon(supervisor.run)
    tasks.start_soon(create_janitor(parts).run)
    tasks.start_soon(create_scheduler(parts).run)
    return supervisor


async def work(settings: Settings) -> None:
    """A worker without the API, until it is cancelled."""
    async with open_parts(settings) as parts, anyio.create_task_group() as tasks:
        start_worker(parts, tasks)
