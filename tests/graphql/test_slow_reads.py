"""A statement that takes too long: the client gets an error in time, and no connection or statement stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.engine import connect, create_engine
from app.graphql.serving import operation
from app.graphql.shared.context import READ_SLOTS, READ_TIMEOUT_SECONDS
from app.main import engine_for_reads
from app.settings import load_settings
from app.wiring import open_parts
from tests.factories import Factory
from tests.graphql.conftest import Graph

RUNS = "{ runs { nodes { id } } pipelines { nodes { name } } }"
STUCK = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@contextlib.asynccontextmanager
async def locked(engine: AsyncEngine, table: str = "pipeline_runs") -> AsyncIterator[None]:
    """Locks a table, so that no statement can read it within the block."""
    connection = await connect(engine.url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()


@pytest.fixture
async def impatient(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine for reads of a server with a short statement timeout."""
    engine = create_engine(database_url, pool_size=READ_SLOTS, max_overflow=0, statement_timeout_seconds=0.2)
    yield engine
    await engine.dispose()


async def stuck(engine: AsyncEngine) -> int:
    connection = await connect(engine.url)
    try:
        return int(await connection.fetchval(STUCK))
    finally:
        await connection.close()


async def until_nothing_is_stuck(engine: AsyncEngine) -> None:
    async with asyncio.timeout(10):
        while await stuck(engine):  # noqa: ASYNC110 - PostgreSQL has no event for it
            await asyncio.sleep(0.02)


async def answer_in_the_end(graph: Graph, query: str) -> Any:
    """The data of a query, repeated after a timeout: on a busy machine an unlocked table may time out too."""
    async with asyncio.timeout(30):
        while (result := await graph.result(query)).errors:
            assert [error.extensions for error in result.errors] == [{"code": "TIMEOUT"}]
        return result.data


async def test_reads_have_connections_of_their_own_with_a_timeout_of_eight_seconds(
    database_url: str, mlp_home: object
) -> None:
    settings = load_settings(database_url=database_url, home=mlp_home, database_pool_size=4)
    async with open_parts(settings) as parts, engine_for_reads(parts) as reads:
        async with reads.connect() as connection:
            timeout = (await connection.exec_driver_sql("SHOW statement_timeout")).scalar_one()
        assert timeout == f"{READ_TIMEOUT_SECONDS:g}s" == "8s"
        assert reads.pool.size() == 4  # type: ignore[attr-defined]
        assert operation.TIMEOUT_SECONDS == 10 > READ_TIMEOUT_SECONDS


async def test_a_statement_that_takes_too_long_fails_its_field_only(
    graph: Graph, make: Factory, engine: AsyncEngine, impatient: AsyncEngine
) -> None:
    await make.pipeline()
    slow = Graph(graph.schema, dataclasses.replace(graph.contexts, reads=impatient))
    query = "{ pipelines { nodes { name latestRun { id } } } }"
    async with locked(engine):
        error = (await slow.result(query)).errors
    assert error is not None
    assert [(part.path, part.extensions) for part in error] == [
        (["pipelines", "nodes", 0, "latestRun"], {"code": "TIMEOUT"})
    ]
    assert await answer_in_the_end(slow, query) == {
        "pipelines": {"nodes": [{"name": "penguins", "latestRun": None}]}
    }


async def test_the_pool_is_complete_after_many_timeouts(
    graph: Graph, make: Factory, engine: AsyncEngine, impatient: AsyncEngine
) -> None:
    await make.pipeline()
    slow = Graph(graph.schema, dataclasses.replace(graph.contexts, reads=impatient))
    async with locked(engine):
        results = await asyncio.gather(*(slow.result(RUNS) for _ in range(2 * READ_SLOTS)))
    codes = {error.extensions["code"] for result in results for error in result.errors or ()}
    assert codes == {"TIMEOUT"}
    assert impatient.pool.checkedout() == 0  # type: ignore[attr-defined]
    answers = await asyncio.gather(*(answer_in_the_end(slow, RUNS) for _ in range(2 * READ_SLOTS)))
    assert answers == [{"runs": {"nodes": []}, "pipelines": {"nodes": [{"name": "penguins"}]}}] * len(answers)


async def test_an_operation_that_timed_out_leaves_no_statement_behind(
    graph: Graph, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "TIMEOUT_SECONDS", 0.3)
    async with locked(engine):
        results = await asyncio.gather(*(graph.result(RUNS) for _ in range(2 * READ_SLOTS)))
        await until_nothing_is_stuck(engine)
    for result in results:
        assert result.errors is not None
        assert [error.extensions for error in result.errors] == [{"code": "TIMEOUT"}]
    monkeypatch.undo()
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    answers = await asyncio.gather(*(graph.data(RUNS) for _ in range(2 * READ_SLOTS)))
    assert answers == [{"runs": {"nodes": []}, "pipelines": {"nodes": []}}] * len(answers)
