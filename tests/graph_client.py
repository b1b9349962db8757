"""Subscribes to the graph without a network between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.graphql.context import Context
from app.graphql.schema import Schema
from app.graphql.shared.context import ContextFactory
from app.notifications.postgres import PostgresNotifier
from app.services.logs import LogReader
from app.services.streams import Streams
from app.services.system import SystemSampler
from app.storage.imports import Imports
from app.storage.local import LocalStore

PATIENCE_SECONDS = 10.0


class Graph:
    """A client of the graph; results are given as GraphQL's JSON response would hold them."""

    def __init__(self, schema: Schema, context: ContextFactory) -> None:
        self.schema = schema
        self.contexts = context

    @contextlib.asynccontextmanager
    async def subscribe(self, document: str, **variables: Any) -> AsyncIterator[Subscriber]:
        stream = await self.schema.subscribe(document, variables, context_value=self.contexts())
        subscriber = Subscriber(stream)
        try:
            yield subscriber
        finally:
            await subscriber.stop()

    async def messages(self, document: str, **variables: Any) -> list[dict[str, Any]]:
        """All data of a subscription which completes by itself."""
        async with self.subscribe(document, **variables) as subscriber:
            return await subscriber.rest()

    async def error(self, document: str, **variables: Any) -> dict[str, Any]:
        """The only message of a subscription which is refused."""
        async with self.subscribe(document, **variables) as subscriber:
            result = await anext(subscriber.results)
            with pytest.raises(StopAsyncIteration):
                await anext(subscriber.results)
        (error,) = result.errors
        return {**error.formatted, **error.extensions}


class Subscriber:
    """One running subscription."""

    def __init__(self, results: AsyncGenerator[Any, None]) -> None:
        self.results = results

    async def next(self) -> dict[str, Any]:
        result = await asyncio.wait_for(anext(self.results), PATIENCE_SECONDS)
        assert result.errors is None, result.errors
        (data,) = result.data.values()
        return data

    async def rest(self) -> list[dict[str, Any]]:
        """Everything until the subscription completes by itself."""
        messages = []
        with contextlib.suppress(StopAsyncIteration):
            while True:
                messages.append(await self.next())
        return messages

    async def stop(self) -> None:
        await self.results.aclose()


def graph_over(schema: Schema, engine: AsyncEngine, notifier: PostgresNotifier, logs: LogReader) -> Graph:
    imports = Imports(LocalStore(Path("unused")), None, 0)
    streams = Streams(engine, notifier, logs)
    return Graph(schema, ContextFactory(Context, engine, notifier, logs, streams, SystemSampler(), imports))
