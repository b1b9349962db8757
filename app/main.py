"""Wires the whole server: the parts of the API, the order in which everything starts, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anyio
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from app import __version__
from app.database.engine import create_engine
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
from app.web.middleware import GRAPHQL_PATH, cross_origin, guards
from app.web.server import RunningServer, listening_socket, serving
from app.web.ui import graphiql_response, static_routes
from app.wiring import Parts, open_parts, start_worker


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
    """The ASGI application of the server: all routes and middleware."""
    settings = parts.settings
    token = settings.api_token.get_secret_value() if settings.api_token else None
    logs = LogReader(parts.executors, parts.store, parts.engine)
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
        middleware=[
            *cross_origin(settings.allowed_origins),
            *guards(allowed_hosts=allowed_hosts(settings), token=token),
        ],
    )


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
        async with (
            open_parts(settings) as parts,
            engine_for_reads(parts) as reads,
            anyio.create_task_group() as tasks,
        ):
            supervisor = start_worker(parts, tasks) if worker else None
            app = create_app(parts, reads, supervisor, schema)
            async with serving(app, listener) as server:
                yield server
            tasks.cancel_scope.cancel()
