"""The real schema, notifier and database; runs are written by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from connected_notifier import connected_notifier
from graph_client import Graph, graph_over
from live_run import LiveRun
from shared_database import shared_database
from sqlalchemy.ext.asyncio import AsyncEngine

from app.execution.executors.local import LocalExecutor
from app.graphql.schema import Schema
from app.notifications.postgres import PostgresNotifier
from app.services.logs import LogReader
from app.storage.local import LocalStore


@pytest.fixture(scope="session")
async def database_url(postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    """One for all tests here: each looks at its own run."""
    async with shared_database(postgres_url, migrated_template) as url:
        yield url


@pytest.fixture
async def notifier(database_url: str) -> AsyncIterator[PostgresNotifier]:
    async with connected_notifier(database_url, poll_seconds=60.0) as notifier:
        yield notifier


@pytest.fixture
def logs(engine: AsyncEngine, tmp_path: Path) -> LogReader:
    return LogReader(LocalExecutor(tmp_path / "attempts"), LocalStore(tmp_path / "artifacts"), engine)


@pytest.fixture
async def graph(schema: Schema, engine: AsyncEngine, notifier: PostgresNotifier, logs: LogReader) -> Graph:
    """A graph whose subscriptions wake on notifications only: the poll interval is a minute."""
    return graph_over(schema, engine, notifier, logs)


@pytest.fixture
async def run(engine: AsyncEngine) -> LiveRun:
    return await LiveRun.insert(engine)
