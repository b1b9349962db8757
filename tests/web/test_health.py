"""Health checks with and without a working database and supervisor."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from shared_database import shared_database
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.applications import Starlette
from web_server import client_of

from app.database.engine import create_engine
from app.web.health import Health

NOWHERE = "postgresql+asyncpg://nobody:secret-password@127.0.0.1:1/nowhere"


@pytest.fixture(scope="module")
async def database_url(postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    """One database for all tests here: each looks at the run that it made."""
    async with shared_database(postgres_url, migrated_template) as url:
        yield url


def application(engine: AsyncEngine, **options: Any) -> Starlette:
    return Starlette(routes=Health(engine, "1.2.3", "test", **options).routes())


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, dict[str, Any]]:
    async with client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, await response.json()


async def test_a_healthy_server_describes_itself(engine: AsyncEngine) -> None:
    async with client_of(application(engine)) as client:
        status, body = await get(client, "/health")
    assert status == 200
    assert body["status"] == "healthy"
    assert body["database"] == "connected"
    assert (body["version"], body["environment"]) == ("1.2.3", "test")
    assert 0 <= body["uptime"] < 60
    assert body["memory"]["rss"] > 1_000_000
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(body["timestamp"])
    assert abs(age) < dt.timedelta(seconds=30)


async def test_without_its_database_the_server_is_alive_but_not_ready() -> None:
    engine = create_async_engine(NOWHERE)
    async with client_of(application(engine)) as client:
        status, body = await get(client, "/health")
        assert (status, body["status"], body["database"]) == (200, "degraded", "unreachable")
        status, body = await get(client, "/health/ready")
        assert (status, body["status"]) == (503, "not ready")
        assert body["reasons"] == [f"database: {body['parts']['database']}"]
        assert "secret-password" not in str(body)
    await engine.dispose()


async def test_a_database_that_does_not_answer_is_unreachable_after_two_seconds() -> None:
    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    silence = asyncio.Event()
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        engine = create_async_engine(f"postgresql+asyncpg://nobody@127.0.0.1:{port}/nowhere?ssl=disable")
        async with client_of(application(engine)) as client:
            async with asyncio.timeout(4):
                status, body = await get(client, "/health/ready")
        assert (status, body["reasons"]) == (503, ["database: no answer within 2 s"])
        silence.set()
        await engine.dispose()


async def test_a_server_is_ready_when_its_database_answers_and_its_supervisor_works(
    engine: AsyncEngine,
) -> None:
    silence_seconds = 0.1
    async with client_of(application(engine, supervisor_silence=lambda: silence_seconds)) as client:
        status, body = await get(client, "/health/ready")
        assert (status, body["status"]) == (200, "ready")
        assert body["parts"] == {"database": "ok", "supervisor": "ok"}
        silence_seconds = 60.0
        status, body = await get(client, "/health/ready")
        assert (status, body["reasons"]) == (503, ["supervisor: silent for 60 s"])


async def test_a_process_without_a_supervisor_is_ready(engine: AsyncEngine) -> None:
    async with client_of(application(engine)) as client:
        status, body = await get(client, "/health/ready")
    assert (status, body["parts"]["supervisor"]) == (200, "not in this process")


async def test_a_shortage_on_the_disk_is_named_but_the_server_stays_ready(engine: AsyncEngine) -> None:
    shortage: str | None = "low: 5 MiB are free"
    async with client_of(application(engine, disk_shortage=lambda: shortage)) as client:
        status, body = await get(client, "/health/ready")
        assert (status, body["parts"]["disk"]) == (200, "low: 5 MiB are free")
        shortage = None
        status, body = await get(client, "/health/ready")
    assert (status, body["parts"]["disk"]) == (200, "ok")


async def test_many_health_checks_cost_one_statement(database_url: str) -> None:
    engine = create_engine(database_url, pool_size=1, max_overflow=0, pool_timeout_seconds=0.1)
    async with client_of(application(engine)) as client:
        answers = await asyncio.gather(*(get(client, "/health/ready") for _ in range(50)))
    assert {status for status, _ in answers} == {200}
    await engine.dispose()
