"""The graph over a real database: executed directly, or served on a port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from strawberry.types import ExecutionResult

from app.execution.executors.local import LocalExecutor
from app.graphql.context import Context
from app.graphql.schema import Schema, build_schema
from app.graphql.serving.view import GraphQLView
from app.graphql.shared.context import ContextFactory
from app.notifications.postgres import PostgresNotifier
from app.services.logs import LogReader
from app.services.streams import Streams
from app.services.system import SystemSampler
from app.settings import load_settings
from app.storage.imports import Imports
from app.storage.local import LocalStore
from tests.factories import Factory

TOKEN = "a token of this test"


@pytest.fixture
def make(engine: AsyncEngine) -> Factory:
    return Factory(engine)


@pytest.fixture(scope="session")
def schema() -> Schema:
    return configured_schema()


def configured_schema(trusted_documents: Path | None = None) -> Schema:
    """Executed by compiled plans, or by graphql-core under MLP_COMPILED_GRAPHQL=false."""
    return build_schema(trusted_documents, compiled=load_settings().compiled_graphql)


@pytest.fixture
async def contexts(engine: AsyncEngine, database_url: str, tmp_path: Path) -> AsyncIterator[ContextFactory]:
    async with PostgresNotifier(database_url) as notifier:
        store = LocalStore(tmp_path / "artifacts")
        logs = LogReader(LocalExecutor(tmp_path / "attempts"), store, engine)
        yield ContextFactory(
            Context,
            engine=engine,
            notifier=notifier,
            logs=logs,
            streams=Streams(engine, notifier, logs),
            system=SystemSampler(),
            imports=Imports(store, tmp_path / "imports", 1 << 20),
        )


@dataclass
class Graph:
    """Executes operations on the schema, without HTTP."""

    schema: Schema
    contexts: ContextFactory

    async def result(self, query: str, **variables: Any) -> ExecutionResult:
        return await self.schema.execute(query, variable_values=variables, context_value=self.contexts())

    async def data(self, query: str, **variables: Any) -> Any:
        """The data of an operation that must not fail."""
        result = await self.result(query, **variables)
        assert result.errors is None, result.errors
        return result.data

    async def refusal(self, query: str, **variables: Any) -> Any:
        """The only error of an operation that must fail, as a client sees it."""
        result = await self.result(query, **variables)
        assert result.errors is not None
        assert len(result.errors) == 1, result.errors
        return result.errors[0].formatted


@pytest.fixture
def graph(schema: Schema, contexts: ContextFactory) -> Graph:
    return Graph(schema, contexts)


@pytest.fixture
def statements(engine: AsyncEngine) -> Iterator[list[str]]:
    """Every SQL statement sent to the database since the test began; clear it as you like."""
    sent: list[str] = []

    def remember(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        sent.append(statement)

    sa.event.listen(engine.sync_engine, "before_cursor_execute", remember)
    yield sent
    sa.event.remove(engine.sync_engine, "before_cursor_execute", remember)


def browser_page(request: Request) -> Response:
    return PlainTextResponse("the page for browsers")


@pytest.fixture
async def server(schema: Schema, contexts: ContextFactory) -> AsyncIterator[str]:
    """``127.0.0.1:<port>`` of a server of this process that asks for no token."""
    async with serving(GraphQLView(schema, contexts, page=browser_page)) as address:
        yield address


@pytest.fixture
async def guarded_server(schema: Schema, contexts: ContextFactory) -> AsyncIterator[str]:
    """The same, but its websocket asks for ``TOKEN``."""
    async with serving(GraphQLView(schema, contexts, page=browser_page, token=TOKEN)) as address:
        yield address


@contextlib.asynccontextmanager
async def serving(view: GraphQLView) -> AsyncIterator[str]:
    app = Starlette(routes=[Route("/graphql", view), WebSocketRoute("/graphql", view)])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=2)
        )
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server._serve([listener]))
        try:
            async with asyncio.timeout(10):
                while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.01)
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
