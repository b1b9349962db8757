"""One database for all tests that move runs through ``services.state``: emptying it is faster than creating one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from shared_database import shared_database
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.columns import new_id
from app.database.engine import create_engine
from app.database.tables import (
    blobs,
    model_alias_moves,
    model_aliases,
    model_versions,
    pipelines,
    registered_models,
    workers,
)
from app.notifications.postgres import PostgresNotifier
from tests.moved_runs import ByHand
from tests.registered_workers import register_worker


@pytest.fixture(scope="session")
async def reused_database_url(postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    async with shared_database(postgres_url, migrated_template) as url:
        yield url


@pytest.fixture(scope="session")
async def reused_engine(reused_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(reused_database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def reused_notifier(reused_database_url: str) -> AsyncIterator[PostgresNotifier]:
    async with PostgresNotifier(reused_database_url) as notifier:
        yield notifier


@pytest.fixture
async def by_hand(reused_engine: AsyncEngine, reused_notifier: PostgresNotifier) -> ByHand:
    """A worker of its own on a database without any other row."""
    async with reused_engine.begin() as connection:
        registry = (model_aliases, model_alias_moves, model_versions, registered_models)
        for table in (*registry, pipelines, workers, blobs):
            await connection.execute(sa.delete(table))
    host_id = new_id()
    worker_id = await register_worker(reused_engine, host_id, slots=4, cpus=100)
    by_hand = ByHand(reused_engine, reused_notifier, worker_id, host_id)
    # The test does not renew this lease.
    await by_hand.execute(sa.update(workers).values(lease_until=sa.func.now() + timedelta(hours=1)))
    return by_hand
