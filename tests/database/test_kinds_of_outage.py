"""Errors of real connections to a real PostgreSQL, and whether they count as outages."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.engine import create_engine
from app.database.outages import is_outage
from tests.postgres_proxy import PostgresProxy


async def failing(engine: AsyncEngine, *statements: str) -> Exception:
    """The error of the first statement that fails."""
    try:
        async with engine.begin() as connection:
            for statement in statements:
                await connection.execute(sa.text(statement))
    except Exception as error:
        return error
    raise AssertionError("nothing failed")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody@127.0.0.1:1/x",
        "postgresql://nobody@no-such-host.invalid/x",
        "postgresql:///x?host=/nonexistent",
    ],
)
async def test_a_missing_server_is_an_outage(url: str) -> None:
    engine = create_engine(url)
    assert is_outage(await failing(engine, "SELECT 1"))


async def test_a_terminated_connection_is_an_outage(engine: AsyncEngine) -> None:
    assert is_outage(await failing(engine, "SELECT pg_terminate_backend(pg_backend_pid())"))


async def test_a_connection_that_the_server_ends_during_use_is_an_outage(database_url: str) -> None:
    async with PostgresProxy(database_url) as proxy:
        engine = create_engine(proxy.url)
        async with engine.connect() as connection:
            heard = asyncio.Event()
            driver = (await connection.get_raw_connection()).driver_connection
            driver.add_log_listener(lambda *_: heard.set())
            proxy.send_shutdown_messages()
            await asyncio.wait_for(heard.wait(), 10)
            with pytest.raises(sa.exc.DBAPIError, match="another operation") as caught:
                await connection.execute(sa.text("SELECT 1"))
            assert is_outage(caught.value)
            await connection.invalidate()
        await engine.dispose()


async def test_a_statement_that_exceeds_its_timeout_is_an_outage(engine: AsyncEngine) -> None:
    assert is_outage(await failing(engine, "SET LOCAL statement_timeout = 1", "SELECT pg_sleep(60)"))


async def test_a_rollback_by_a_deadlock_is_an_outage(engine: AsyncEngine) -> None:
    locks = ("SELECT pg_advisory_xact_lock(1)", "SELECT pg_advisory_xact_lock(2)")
    both_hold_one = asyncio.Barrier(2)

    async def take(first: str, second: str) -> None:
        async with engine.begin() as connection:
            await connection.execute(sa.text(first))
            await both_hold_one.wait()
            await connection.execute(sa.text(second))

    outcomes = await asyncio.gather(take(*locks), take(*locks[::-1]), return_exceptions=True)
    (victim,) = [outcome for outcome in outcomes if outcome is not None]
    assert is_outage(victim)


@pytest.mark.parametrize(
    "statement", ["SELECT 1/0", "SELECT * FROM no_such_table", "INSERT INTO pipelines DEFAULT VALUES"]
)
async def test_an_invalid_statement_is_no_outage(engine: AsyncEngine, statement: str) -> None:
    assert not is_outage(await failing(engine, statement))


def test_a_missing_file_is_no_outage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "outputs").read_bytes()
    assert not is_outage(caught.value)
