"""Wires everything: what the server consists of, in which order it starts, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import anyio
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from app import __version__
from app.broker.postgres import Broker
from app.database import migrate
from app.database.embedded import EmbeddedPostgres
from app.database.engine import check_reachable, create_engine
from app.errors import StartupError
from app.execution.drive import AttemptDriver
from app.execution.executors.local import LocalExecutor
from app.execution.janitor import Janitor, RetentionDays
from app.execution.launch import AttemptLimits
from app.execution.leftovers import Leftovers
from app.execution.paths import WorkerHome
from app.execution.scheduler import Scheduler
from app.execution.supervisor import Supervisor, SupervisorLimits
from app.graphql.context import READ_SLOTS, READ_TIMEOUT_SECONDS, ContextFactory
from app.graphql.schema import Schema, build_schema
from app.graphql.view import GraphQLView
from app.services.logs import LogReader
from app.services.streams import Streams
from app.services.system import SystemSampler
from app.settings import Settings
from app.storage.disk import DiskReserve
from app.storage.imports import Imports
from app.storage.local import LocalStore
from app.web.downloads import Downloads
from app.web.health import Health
from app.web.hooks import Hooks
from app.web.middleware import GRAPHQL_PATH, guards
from app.web.ui import graphiql_response, static_routes
from app.web.websocket import WebSocketProtocol

DATABASE_PATIENCE_SECONDS = 0.0
SHUTDOWN_SECONDS = 3
PING_SECONDS = 7.0
"""Between pings of a websocket, and for the answer: who stops reading answers none, and is gone within 15 seconds."""


@dataclass(frozen=True)
class Parts:
    """What the API and the supervisor share; lives as long as the process serves."""

    settings: Settings
    engine: AsyncEngine
    reads: AsyncEngine
    """For the reads of queries: connections of their own, and less patience."""
    broker: Broker
    store: LocalStore
    home: WorkerHome


class RunningServer:
    """A server that answers at ``url``."""

    def __init__(self, url: str, uvicorn_task: asyncio.Task[None]) -> None:
        self.url = url
        self._uvicorn_task = uvicorn_task

    @property
    def graphql_url(self) -> str:
        """Where GraphiQL is."""
        return self.url + GRAPHQL_PATH

    async def wait_stopped(self) -> None:
        """Returns when the server has stopped by itself, which it does only when something is broken."""
        await asyncio.wait([self._uvicorn_task])


@contextlib.asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[tuple[AsyncEngine, str]]:
    """The database of the settings, or the embedded one: reachable, but not migrated yet. Also its URL."""
    async with contextlib.AsyncExitStack() as stack:
        url = settings.database_url
        if url is None:
            server = EmbeddedPostgres(settings.home)
            url = await stack.enter_async_context(server)
            await stack.enter_async_context(server.kept_running())
        engine = create_engine(url, pool_size=settings.database_pool_size)
        stack.push_async_callback(engine.dispose)
        await check_reachable(engine, wait_seconds=DATABASE_PATIENCE_SECONDS)
        yield engine, url


@contextlib.asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Everything below the API and the supervisor, on a migrated database."""
    home = WorkerHome(settings.home)
    _make(home)
    async with database(settings) as (engine, url):
        await migrate.upgrade(engine)
        async with Broker(url) as broker, engine_for_reads(url, settings) as reads:
            yield Parts(settings, engine, reads, broker, LocalStore(home.artifacts), home)


@contextlib.asynccontextmanager
async def engine_for_reads(url: str, settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Queries can't take the connections by which runs are moved on; none of theirs is open before one comes."""
    slots = min(READ_SLOTS, settings.database_pool_size)
    engine = create_engine(
        url, pool_size=slots, max_overflow=0, statement_timeout_seconds=READ_TIMEOUT_SECONDS
    )
    yield engine
    await engine.dispose()


def _make(home: WorkerHome) -> None:
    try:
        home.make()
    except OSError as error:
        raise StartupError(
            f"MLP_HOME={home.root} can't be used ({error.strerror}): name a folder you may write to"
        ) from None


def create_supervisor(parts: Parts) -> Supervisor:
    """The engine of this host."""
    settings = parts.settings
    limits = AttemptLimits(
        grace_seconds=settings.grace_seconds,
        log_limit_bytes=settings.stage_log_limit_bytes,
        artifact_limit_bytes=settings.artifact_limit_bytes,
        artifact_limit_files=settings.artifact_limit_files,
    )
    executor = LocalExecutor(parts.home.attempts)
    driver = AttemptDriver(parts.engine, parts.broker, executor, parts.store, limits)
    return Supervisor(
        parts.engine,
        parts.broker,
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
    """Cleans up the database and the files of this host."""
    settings = parts.settings
    executor = LocalExecutor(parts.home.attempts)
    keep = RetentionDays(
        runs=settings.run_retention_days,
        samples=settings.sample_retention_days,
        events=settings.event_retention_days,
        logs=settings.log_retention_days,
    )
    return Janitor(
        parts.engine, parts.broker, Leftovers(parts.engine, executor, parts.store, parts.home), keep
    )


def create_scheduler(parts: Parts) -> Scheduler:
    """What starts runs at their times."""
    return Scheduler(parts.engine, parts.broker, parts.settings.environment)


def create_app(parts: Parts, supervisor: Supervisor | None, schema: Schema) -> ASGIApp:
    """The whole HTTP and websocket surface."""
    settings = parts.settings
    token = settings.api_token.get_secret_value() if settings.api_token else None
    logs = LogReader(parts.home.attempts, parts.store, parts.engine)
    contexts = ContextFactory(
        engine=parts.engine,
        reads=parts.reads,
        broker=parts.broker,
        logs=logs,
        streams=Streams(parts.engine, parts.broker, logs),
        system=SystemSampler(),
        imports=Imports(parts.store, settings.import_folder, settings.artifact_limit_bytes),
        environment=settings.environment,
        read_slots=asyncio.Semaphore(min(READ_SLOTS, settings.database_pool_size)),
    )
    view = GraphQLView(
        schema,
        contexts,
        page=graphiql_response,
        token=token,
        allowed_origins=settings.allowed_origins,
    )
    silence = (lambda: supervisor.seconds_since_pass) if supervisor else None
    disk = DiskReserve(parts.home.root, settings.disk_reserve_bytes)
    health = Health(parts.engine, __version__, settings.environment, silence, disk.shortage)
    return Starlette(
        routes=[
            *health.routes(),
            *Downloads(parts.engine, parts.store).routes(),
            *Hooks(parts.engine, parts.broker, settings.environment).routes(),
            Route(GRAPHQL_PATH, view),
            WebSocketRoute(GRAPHQL_PATH, view),
            *static_routes(),
        ],
        middleware=[*_cross_origin(settings), *guards(allowed_hosts=allowed_hosts(settings), token=token)],
    )


def _cross_origin(settings: Settings) -> list[Middleware]:
    """Browsers may call the API from these pages only; there are no cookies, so no credentials to allow."""
    if not settings.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("authorization", "content-type"),
            max_age=600,
        )
    ]


def allowed_hosts(settings: Settings) -> list[str]:
    """Names under which a browser may reach the server; others could be DNS rebinding."""
    wildcards = ("0.0.0.0", "::")
    own = [settings.host] if settings.host not in wildcards else []
    return ["localhost", "127.0.0.1", "::1", *own, *settings.allowed_hosts]


@contextlib.asynccontextmanager
async def running_server(settings: Settings, *, worker: bool = True) -> AsyncIterator[RunningServer]:
    """The whole server in this process, from the moment it answers to its orderly stop."""
    with listening_socket(settings.host, settings.port) as listener:
        schema = build_schema(settings.trusted_documents)
        async with open_parts(settings) as parts:
            supervisor = create_supervisor(parts) if worker else None
            async with anyio.create_task_group() as tasks:
                if supervisor is not None:
                    tasks.start_soon(supervisor.run)
                    tasks.start_soon(create_janitor(parts).run)
                    tasks.start_soon(create_scheduler(parts).run)
                app = create_app(parts, supervisor, schema)
                async with _serving(app, listener, settings) as server:
                    yield server
                tasks.cancel_scope.cancel()


@contextlib.contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Bound before anything else starts, so that a taken port costs nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(
            f"can't listen on {host} port {port} ({error.strerror}): choose another PORT or HOST"
        ) from None
    with listener:
        yield listener


class _Server(uvicorn.Server):
    """Leaves signals to the command line."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _serving(app: ASGIApp, listener: socket.socket, settings: Settings) -> AsyncIterator[RunningServer]:
    config = uvicorn.Config(
        app,
        ws=WebSocketProtocol,
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            if task.done():
                raise StartupError("the web server did not start; its log says why")
            await asyncio.sleep(0.01)
        gc.freeze()
        # An answer makes thousands of objects which live until it is sent: looking for cycles among them every 700
        # objects, the default, takes a tenth of a nested query and finds none.
        gc.set_threshold(50_000, 20, 50)
        host, port = listener.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        yield RunningServer(f"http://{name}:{port}", task)
    finally:
        server.should_exit = True
        await task


async def work(settings: Settings) -> None:
    """The supervisor without the API, until it is cancelled."""
    async with open_parts(settings) as parts, anyio.create_task_group() as tasks:
        tasks.start_soon(create_janitor(parts).run)
        tasks.start_soon(create_scheduler(parts).run)
        await create_supervisor(parts).run()
