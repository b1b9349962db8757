"""Connections: URLs, settings of the session, and the refusal of an unusable database."""

from __future__ import annotations

import asyncio
import socket
import traceback
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import engine as engine_module
from app.database.engine import check_reachable, connect, create_engine, masked
from app.database.urls import driver_arguments, normalised
from app.errors import StartupError
from app.postgres.server import EmbeddedPostgres
from app.telemetry import redactor
from tests.postgres_proxy import PostgresProxy

JSON_ECHO = sa.select(sa.bindparam("value", type_=JSONB))


async def scalar(engine: AsyncEngine, statement: str) -> object:
    async with engine.connect() as connection:
        return await connection.scalar(sa.text(statement))


async def refusal(url: str) -> str:
    """The message of ``check_reachable`` for this database."""
    engine = create_engine(url)
    with pytest.raises(StartupError) as refused:
        await check_reachable(engine)
    await engine.dispose()
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("given", "dsn"),
    [
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql+asyncpg://u:p@h:1/d", "postgresql://u:p@h:1/d"),
        ("postgresql://u@/d?host=/run/pg", "postgresql://u@/d?host=%2Frun%2Fpg"),
        ("postgresql://u:p%40%2F@h/d?sslmode=verify-full", "postgresql://u:p%40%2F@h/d?sslmode=verify-full"),
        ("postgresql+asyncpg://u:p@h/d?ssl=require", "postgresql://u:p@h/d?sslmode=require"),
        ("postgresql://h/d?channel_binding=prefer&gssencmode=disable", "postgresql://h/d"),
    ],
)
def test_the_driver_receives_the_url_with_the_parameters_of_libpq(given: str, dsn: str) -> None:
    assert driver_arguments(given)["dsn"] == dsn
    assert driver_arguments(normalised(given))["dsn"] == dsn


def test_the_connect_timeout_of_the_url_is_used() -> None:
    assert driver_arguments("postgresql://h/d?connect_timeout=3") == {
        "dsn": "postgresql://h/d",
        "timeout": 3.0,
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:geheim@h/d", "postgresql://u:***@h/d"),
        (
            "postgresql://u@h/d?password=geheim&sslmode=require",
            "postgresql://u@h/d?sslmode=require",
        ),
        ("geheim", "an unreadable URL"),
    ],
)
def test_a_masked_url_has_no_password(url: str, shown: str) -> None:
    assert masked(url) == shown


async def test_a_session_uses_utc_has_our_application_name_and_limits_statements(engine: AsyncEngine) -> None:
    assert await scalar(engine, "SHOW timezone") == "UTC"
    assert await scalar(engine, "SHOW application_name") == "ml-pipeline-thing"
    assert await scalar(engine, "SHOW statement_timeout") == "30s"
    assert await scalar(engine, "SHOW idle_in_transaction_session_timeout") == "10s"


async def test_the_server_cancels_a_statement_that_exceeds_its_timeout(database_url: str) -> None:
    engine = create_engine(database_url, statement_timeout_seconds=0.05)
    with pytest.raises(DBAPIError, match="statement timeout"):
        await scalar(engine, "SELECT pg_sleep(30)")
    await engine.dispose()


async def test_a_connection_closed_by_the_server_is_replaced_without_an_error(engine: AsyncEngine) -> None:
    killed = await scalar(engine, "SELECT pg_backend_pid()")
    executioner = await connect(engine.url)
    await executioner.execute(f"SELECT pg_terminate_backend({killed}, 10000)")
    await executioner.close()
    assert await scalar(engine, "SELECT pg_backend_pid()") != killed


async def test_a_connection_to_a_server_that_vanishes_is_closed_after_30_seconds(
    database_url: str,
) -> None:
    async with PostgresProxy(database_url) as proxy:
        connection = await connect(proxy.url)
        peer = connection._transport.get_extra_info("socket")
        options = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, interval, count, unanswered_ms = (
            peer.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in options
        )
        assert (idle + interval * count, unanswered_ms) == (30, 30_000)
        await connection.close()


async def test_json_is_read_as_it_was_written(engine: AsyncEngine) -> None:
    value = {"text": "ä", "number": 1.5, "list": [None, True, 2**53], "text of null": "null"}
    async with engine.connect() as connection:
        assert await connection.scalar(JSON_ECHO, {"value": value}) == value


async def test_a_uuid_of_a_row_can_be_encoded_as_json(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        row_id = (await connection.execute(sa.select(sa.func.gen_random_uuid()))).scalar_one()
        assert await connection.scalar(JSON_ECHO, {"value": {"id": row_id}}) == {"id": str(row_id)}
        assert uuid.UUID(str(row_id)) == row_id


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
async def test_json_refuses_nan_and_infinities(engine: AsyncEngine, number: float) -> None:
    async with engine.connect() as connection:
        with pytest.raises(StatementError, match="NaN and infinite numbers"):
            await connection.scalar(JSON_ECHO, {"value": {"deep": [(number,)]}})


async def test_a_usable_database_passes(engine: AsyncEngine) -> None:
    await check_reachable(engine)


async def test_a_missing_server_is_named_without_the_password(unused_tcp_port: int) -> None:
    message = await refusal(f"postgresql://u:geheim@127.0.0.1:{unused_tcp_port}/d")
    assert f"u:***@127.0.0.1:{unused_tcp_port}/d can't be used: no server there" in message
    assert "geheim" not in message
    assert "DATABASE_URL" in message


async def test_a_host_without_an_address_is_named() -> None:
    assert "nowhere.invalid" in await refusal("postgresql://u:p@nowhere.invalid/d")


async def test_a_missing_database_is_named(postgres_url: str) -> None:
    missing = make_url(postgres_url).set(database="missing").render_as_string(hide_password=False)
    assert 'database "missing" does not exist: create it' in await refusal(missing)


async def test_an_unknown_parameter_is_named(postgres_url: str) -> None:
    odd = make_url(postgres_url).update_query_dict({"oddity": "1"}).render_as_string(hide_password=False)
    assert 'unrecognized configuration parameter "oddity"' in await refusal(odd)


@pytest.fixture
async def password_url(mlp_home: Path) -> AsyncIterator[str]:
    """A server that requires the password ``right``."""
    async with EmbeddedPostgres(mlp_home) as url:
        connection = await connect(url)
        await connection.execute("ALTER ROLE postgres PASSWORD 'right'")
        (mlp_home / "postgres" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        yield make_url(url).set(password="right").render_as_string(hide_password=False)


async def test_a_wrong_password_is_refused_at_once_and_not_shown(password_url: str) -> None:
    engine = create_engine(password_url)
    await check_reachable(engine)
    await engine.dispose()
    wrong = make_url(password_url).set(password="geheim").render_as_string(hide_password=False)
    message = await refusal(wrong)
    assert 'password authentication failed for user "postgres": correct the user and the password' in message
    assert "geheim" not in message


async def test_sslmode_require_fails_if_the_server_refuses_tls() -> None:
    async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(refuse_tls, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    message = await refusal(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=require")
    server.close()
    await server.wait_closed()
    assert "rejected SSL upgrade" in message


async def test_a_database_in_another_encoding_is_refused(postgres_url: str) -> None:
    server = await connect(postgres_url)
    options = "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER libc"
    await server.execute(f"CREATE DATABASE mlp_ascii {options}")
    ascii_url = make_url(postgres_url).set(database="mlp_ascii").render_as_string(hide_password=False)
    message = await refusal(ascii_url)
    await server.execute("DROP DATABASE mlp_ascii WITH (FORCE)")
    await server.close()
    assert "its encoding is SQL_ASCII: create it with ENCODING 'UTF8'" in message


async def test_a_server_that_is_too_old_is_refused(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "OLDEST_SERVER_VERSION", 990000)
    with pytest.raises(StartupError, match="and at least 99 is needed"):
        await check_reachable(engine)


async def test_the_check_waits_for_a_server_that_starts_later(mlp_home: Path) -> None:
    async with EmbeddedPostgres(mlp_home) as url:
        pass
    engine = create_engine(url)
    check = asyncio.create_task(check_reachable(engine, wait_seconds=60))
    with pytest.raises(StartupError):
        await check_reachable(engine)
    assert not check.done()
    async with EmbeddedPostgres(mlp_home):
        await check
        await engine.dispose()


async def test_the_check_waits_for_a_server_that_reports_that_it_is_starting(database_url: str) -> None:
    async with PostgresProxy(database_url) as proxy:
        proxy.refusals = 3
        engine = create_engine(proxy.url)
        await check_reachable(engine)
        assert proxy.refusals == 0
        await engine.dispose()


async def test_an_error_does_not_contain_the_parameters_of_its_statement(engine: AsyncEngine) -> None:
    """Parameters may be environments of commands and their output, and errors are logged."""
    statement = sa.text("SELECT CAST(:secret AS text), 1 / CAST(:zero AS integer)")
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="division by zero") as refusal:
            await connection.execute(statement, {"secret": "hunter2", "zero": 0})
    assert "hunter2" not in str(refusal.value)


async def test_a_log_line_does_not_contain_the_row_that_a_constraint_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(sa.text("CREATE TEMP TABLE t (env jsonb, n int CHECK (n > 0))"))
        values = {"env": '{"PASSWORD": "hunter2 (x).\\n"}'}
        with pytest.raises(DBAPIError) as refusal:
            await connection.execute(sa.text("INSERT INTO t VALUES (CAST(:env AS jsonb), 0)"), values)
    logged = "".join(traceback.format_exception(refusal.value))
    assert "hunter2" in logged
    redacted = redactor([])(logged)
    assert "hunter2" not in redacted
    assert "Failing row contains (***)" in redacted
    assert redacted.splitlines()[-1] == logged.splitlines()[-1]
