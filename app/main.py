"""Wires the whole server: the parts of the API, the order in which everything starts, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator

import anyio
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from app import __version__
from app.database.engine import create_engine
from app.errors import StartupError
from app.execution.supervisor import Supervisor
from app.graphql.context import Context
from app.graphql.schema import build_schema
from app.graphql.serving.schema import Schema
from app.graphql.serving.view import GraphQLView
from app.graphql.shared.context import READ_SLOTS, READ_TIMEOUT_SECONDS, ContextFactory
from app.services.logs import LogReader
from app.services.streams import Streams
from app.services.system import SystemSampler
from app.settings import Settings
from app.storage.disk import DiskReserve
from app.storage.imports import Imports
from app.web.archives import Archives
from app.web.downloads import Downloads
from app.web.health import Health
from app.web.hooks import Hooks
from app.web.http import HttpProtocol
from app.web.middleware import GRAPHQL_PATH, guards
from app.web.ui import graphiql_response, static_routes
from app.web.websocket import WebSocketProtocol
from app.wiring import Parts, create_janitor, create_scheduler, create_supervisor, open_parts

SHUTDOWN_SECONDS = 3
PING_SECONDS = 7.0
"""Between pings of a websocket, and until its pong: a client that stops reading is disconnected within 15 seconds."""


class RunningServer:
    """A server that answers at ``url``."""

    def __init__(self, url: str, uvicorn_task: asyncio.Task[None]) -> None:
        self.url = url
        self._uvicorn_task = uvicorn_task

    @property
    def graphql_url(self) -> str:
        """The address of the GraphQL API and of its page, GraphiQL."""
        return self.url + GRAPHQL_PATH

    async def wait_stopped(self) -> None:
        """Return when the server has stopped by itself, which only a failure causes."""
        await asyncio.wait([self._uvicorn_task])


@contextlib.asynccontextmanager
async def engine_for_reads(parts: Parts) -> AsyncIterator[AsyncEngine]:
    """An engine for queries, so that they can't use up the connections that execute runs."""
    slots = min(READ_SLOTS, parts.settings.database_pool_size)
    engine = create_engine(
        parts.database_url, pool_size=slots, max_overflow=0, statement_timeout_seconds=READ_TIMEOUT_SECONDS
    )
    yield engine
    await engine.dispose()


def create_app(parts: Parts, reads: AsyncEngine, supervisor: Supervisor | None, schema: Schema) -> ASGIApp:
    """The whole HTTP and websocket surface."""
    settings = parts.settings
    token = settings.api_token.get_secret_value() if settings.api_token else None
    logs = LogReader(parts.home.attempts, parts.store, parts.engine)
    contexts = ContextFactory(
        Context,
        engine=parts.engine,
        reads=reads,
        notifier=parts.notifier,
        logs=logs,
        streams=Streams(parts.engine, parts.notifier, logs),
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
            *Archives(parts.engine, parts.store).routes(),
            *Hooks(parts.engine, parts.notifier, settings.environment).routes(),
            Route(GRAPHQL_PATH, view),
            WebSocketRoute(GRAPHQL_PATH, view),
            *static_routes(),
        ],
        middleware=[*_cross_origin(settings), *guards(allowed_hosts=allowed_hosts(settings), token=token)],
    )


def _cross_origin(settings: Settings) -> list[Middleware]:
    """Lets browsers call the API from the allowed origins, without credentials: there are no cookies."""
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
    """The host names that requests may use; any other could be DNS rebinding."""
    wildcards = ("0.0.0.0", "::")
    own = [settings.host] if settings.host not in wildcards else []
    return ["localhost", "127.0.0.1", "::1", *own, *settings.allowed_hosts]


@contextlib.asynccontextmanager
async def running_server(settings: Settings, *, worker: bool = True) -> AsyncIterator[RunningServer]:
    """The whole server in this process: entered when it answers, left when it has stopped."""
    with listening_socket(settings.host, settings.port) as listener:
        schema = build_schema(settings.trusted_documents, compiled=settings.compiled_graphql)
        async with open_parts(settings) as parts, engine_for_reads(parts) as reads:
            supervisor = create_supervisor(parts) if worker else None
            async with anyio.create_task_group() as tasks:
                if supervisor is not None:
                    tasks.start_soon(supervisor.run)
                    tasks.start_soon(create_janitor(parts).run)
                    tasks.start_soon(create_scheduler(parts).run)
                app = create_app(parts, reads, supervisor, schema)
                async with _serving(app, listener, settings) as server:
                    yield server
                tasks.cancel_scope.cancel()


@contextlib.contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket. Bound before anything else starts, so that a port in use is reported at once."""
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
    """Leaves the handling of signals to the command line."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _serving(app: ASGIApp, listener: socket.socket, settings: Settings) -> AsyncIterator[RunningServer]:
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
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
        # A response consists of thousands of objects that live until it is sent. Looking for cycles among them every
        # 700 objects, the default, takes a tenth of the time of a nested query and finds none.
        gc.set_threshold(50_000, 20, 50)
        host, port = listener.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        yield RunningServer(f"http://{name}:{port}", task)
    finally:
        server.should_exit = True
        await task
