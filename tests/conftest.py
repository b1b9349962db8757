"""Fixtures for everybody: one PostgreSQL for the whole session, one fresh database for each test."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import migrations
from app.database.engine import connect, create_engine
from app.postgres.server import EmbeddedPostgres

# joblib warns at its import where a machine without /dev/shm denies it processes. No test needs them.
os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")

_database_numbers = itertools.count(1)


@pytest.fixture
def mlp_home() -> Iterator[Path]:
    """A fresh MLP_HOME: short, and not among pytest's own folders, which no user but root may enter."""
    with tempfile.TemporaryDirectory(prefix="mlp-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
async def postgres_url() -> AsyncIterator[str]:
    """A PostgreSQL server on which the tests may make databases: MLP_TEST_DATABASE_URL, or our own."""
    if given := os.environ.get("MLP_TEST_DATABASE_URL"):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="mlp-tests-") as home:
        async with EmbeddedPostgres(Path(home)) as url:
            yield url


@pytest.fixture(scope="session")
async def migrated_template(postgres_url: str) -> AsyncIterator[str]:
    """The name of a database with all tables and no rows, only there to be copied."""
    name = f"mlp_template_{os.getpid()}"
    async with _new_database(postgres_url, name) as url:
        engine = create_engine(url)
        await migrations.upgrade(engine)
        await engine.dispose()
        yield name


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A fresh database without any table."""
    async with _new_database(postgres_url, _database_name()) as url:
        yield url


@pytest.fixture
async def database_url(postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    """A fresh database with all tables and no rows."""
    async with _new_database(postgres_url, _database_name(), template=migrated_template) as url:
        yield url


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a fresh database with all tables and no rows."""
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


def _database_name() -> str:
    return f"mlp_test_{os.getpid()}_{next(_database_numbers)}"


@contextlib.asynccontextmanager
async def _new_database(server_url: str, name: str, *, template: str = "template0") -> AsyncIterator[str]:
    await _execute(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        await _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _execute(url: str, statement: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
