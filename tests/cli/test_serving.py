from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.tables import workers
from tests.cli.conftest import DEADLINE_SECONDS, Mlp, Running, Server
from tests.postgres_proxy import PostgresProxy


def test_serve_prints_one_line_and_answers_at_the_address_in_it(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/health/ready", timeout=10) as response:
        assert json.load(response)["status"] == "ready"


@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGTERM, ()), (signal.SIGINT, ("--no-worker",))],
    ids=["SIGTERM", "SIGINT"],
)
def test_serve_stops_in_order(
    mlp: Mlp, database_url: str, number: signal.Signals, options: tuple[str, ...]
) -> None:
    running = mlp.start("serve", "--port", 0, *options, DATABASE_URL=database_url)
    try:
        ready = running.line_with("is ready: http://127.0.0.1:")
        running.signal(number)
        assert running.end(within_seconds=5) == 0
        assert running.output == ready
    finally:
        running.kill()


async def test_serve_stops_in_order_while_it_is_still_starting(mlp: Mlp, database_url: str) -> None:
    async with PostgresProxy(database_url) as proxy:
        proxy.refusals = 1_000_000
        running = mlp.start("serve", "--port", 0, DATABASE_URL=proxy.url)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not proxy.connections:  # noqa: ASYNC110 (another process)
                    await asyncio.sleep(0.02)
            running.signal(signal.SIGTERM)
            assert await asyncio.to_thread(running.end) == 0
        finally:
            await asyncio.to_thread(running.kill)


def test_a_second_signal_ends_serve_at_once(mlp: Mlp, database_url: str) -> None:
    running = mlp.start("serve", "--port", 0, DATABASE_URL=database_url)
    try:
        running.line_with("is ready")
        running.signal(signal.SIGINT)
        running.signal(signal.SIGTERM)
        assert running.end(within_seconds=5) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    finally:
        running.kill()


def test_a_taken_port_is_reported(server: Server) -> None:
    port = server.url.rsplit(":", 1)[1]
    result = server.mlp("serve", "--port", port)
    assert result.returncode == 78
    assert f"mlp: can't listen on 127.0.0.1 port {port}" in result.stderr


def test_an_unreadable_file_of_trusted_documents_is_reported(mlp: Mlp, tmp_path: Path) -> None:
    result = mlp("serve", "--port", "0", MLP_TRUSTED_DOCUMENTS=str(tmp_path / "none.json"))
    assert result.returncode == 78
    assert result.stderr == f"mlp: MLP_TRUSTED_DOCUMENTS={tmp_path}/none.json: No such file or directory\n"


async def test_work_stops_in_order(mlp: Mlp, database_url: str, engine: AsyncEngine) -> None:
    running = mlp.start("work", DATABASE_URL=database_url)
    try:
        await until_a_worker_is_registered(engine, running)
        running.signal(signal.SIGTERM)
        assert running.end(within_seconds=5) == 0
    finally:
        running.kill()


async def until_a_worker_is_registered(engine: AsyncEngine, running: Running) -> None:
    async with asyncio.timeout(30), engine.connect() as connection:
        while (await connection.execute(sa.select(workers.c.id))).first() is None:
            assert running.is_alive(), running.errors
            await asyncio.sleep(0.05)
