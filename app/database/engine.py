"""The connection pool, and the check at the start that the database is reachable and suitable."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_fixed

from app.database import json_codec
from app.database.urls import driver_arguments, masked, normalised
from app.errors import StartupError

__all__ = ["check_reachable", "connect", "create_engine", "masked", "without_transactions"]

APPLICATION_NAME = "ml-pipeline-thing"
IDLE_TRANSACTION_SECONDS = 10.0
"""How long a process that is suspended within a transaction may keep its locks."""

_TCP_OPTIONS = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 30_000,
}
"""A connection whose other end is silent for 30 s is closed, both while idle and with data in flight."""

OLDEST_SERVER_VERSION = 130000
_RECONNECT_SECONDS = 0.25
_RESTART_SECONDS = 60.0
_POOL_RECYCLE_SECONDS = 1800
_FACTS = text(
    "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), pg_is_in_recovery()"
)


def create_engine(
    url: str | URL,
    *,
    pool_size: int = 10,
    max_overflow: int | None = None,
    pool_timeout_seconds: float = 10.0,
    statement_timeout_seconds: float = 30.0,
    idle_transaction_seconds: float = IDLE_TRANSACTION_SECONDS,
    application_name: str = APPLICATION_NAME,
) -> AsyncEngine:
    """An engine whose connections use UTC and strict JSON. ``max_overflow`` defaults to ``pool_size``."""

    async def open_connection() -> asyncpg.Connection:
        try:
            return await connect(
                url,
                statement_timeout_seconds=statement_timeout_seconds,
                idle_transaction_seconds=idle_transaction_seconds,
                application_name=application_name,
            )
        except (ConnectionError, TimeoutError, ssl.SSLError):
            raise
        except OSError as error:
            # No socket, no route, no such host: for callers a server that is down, not a missing file.
            raise ConnectionError(error.errno, error.strerror) from error

    engine = create_async_engine(
        normalised(url),
        async_creator=open_connection,
        pool_size=pool_size,
        max_overflow=pool_size if max_overflow is None else max_overflow,
        pool_timeout=pool_timeout_seconds,
        pool_recycle=_POOL_RECYCLE_SECONDS,
        json_serializer=json_codec.dumps,
        json_deserializer=json_codec.loads,
        # Errors are logged, and parameters may be secrets: output of stages, environments of their commands.
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed_connection)
    return engine


def without_transactions(engine: AsyncEngine) -> AsyncEngine:
    """The same pool for single reads: a transaction around one statement would triple its round trips."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


async def connect(
    url: str | URL,
    *,
    statement_timeout_seconds: float = 0.0,
    idle_transaction_seconds: float = IDLE_TRANSACTION_SECONDS,
    application_name: str = APPLICATION_NAME,
) -> asyncpg.Connection:
    """One plain asyncpg connection, for LISTEN and the like. A timeout of 0 seconds means none."""
    server_settings = {
        "application_name": application_name,
        "timezone": "UTC",
        "statement_timeout": str(round(statement_timeout_seconds * 1000)),
        "idle_in_transaction_session_timeout": str(round(idle_transaction_seconds * 1000)),
        # Compilation would take longer than our short statements.
        "jit": "off",
    }
    connection = await asyncpg.connect(**driver_arguments(url), server_settings=server_settings)
    _enable_keepalive(connection)
    return connection


def _enable_keepalive(connection: asyncpg.Connection) -> None:
    """Let the kernel close a connection whose other end disappears silently. Otherwise we would wait forever."""
    peer = connection._transport.get_extra_info("socket")  # asyncpg has no public API for it
    if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS.items():
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def check_reachable(engine: AsyncEngine, *, wait_seconds: float = 0.0) -> None:
    """Raise a ``StartupError`` of one line, without passwords, if the database can't be used.

    A server that does not answer is tried again for ``wait_seconds``; one that reports that it is starting up or
    shutting down, for a minute.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: _is_temporary(_cause(error))),
        stop=_patience(wait_seconds),
        wait=wait_fixed(_RECONNECT_SECONDS),
        reraise=True,
    )
    try:
        facts: tuple[int, str, bool] = await retrying(_read_facts, engine)
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        remedy = _remedy(_cause(error))
        raise StartupError(f"the database {masked(engine.url)} can't be used: {remedy}") from None
    if problem := _unsuitable(*facts):
        raise StartupError(f"the database {masked(engine.url)} can't be used: {problem}")


def _patience(wait_seconds: float) -> Callable[[RetryCallState], bool]:
    """Ends the retries after this time; a server that says that it starts or stops gets a minute."""
    limit = wait_seconds

    def is_over(state: RetryCallState) -> bool:
        nonlocal limit
        error = None if state.outcome is None else state.outcome.exception()
        if error is not None and isinstance(_cause(error), asyncpg.CannotConnectNowError):
            limit = max(limit, _RESTART_SECONDS)
        return (state.seconds_since_start or 0.0) >= limit

    return is_over


async def _read_facts(engine: AsyncEngine) -> tuple[int, str, bool]:
    async with engine.connect() as connection:
        version, encoding, in_recovery = (await connection.execute(_FACTS)).one()
    return version, encoding, in_recovery


def _unsuitable(version: int, encoding: str, in_recovery: bool) -> str | None:
    if version < OLDEST_SERVER_VERSION:
        return f"it is PostgreSQL {version // 10000} and at least {OLDEST_SERVER_VERSION // 10000} is needed"
    if encoding != "UTF8":
        return f"its encoding is {encoding}: create it with ENCODING 'UTF8'"
    if in_recovery:
        return "it is a read-only standby: name the primary server"
    return None


def _refuse_closed_connection(dbapi_connection: Any, record: object, proxy: object) -> None:
    """Make the pool replace a connection that the server has closed.

    asyncio already knows that it is closed, so the check costs nothing; a ping (``pool_pre_ping``) would add a round
    trip to every use of a connection.
    """
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError


def _cause(error: BaseException) -> BaseException:
    """The driver's exception that SQLAlchemy's wraps."""
    while isinstance(error, DBAPIError) or not isinstance(error, OSError | asyncpg.PostgresError):
        inner = getattr(error, "orig", None) or error.__cause__
        if inner is None:
            break
        error = inner
    return error


def _is_temporary(cause: BaseException) -> bool:
    """Whether connecting again may succeed."""
    if isinstance(cause, ssl.SSLError):
        return False
    return isinstance(cause, OSError | asyncpg.CannotConnectNowError | asyncpg.TooManyConnectionsError)


def _remedy(cause: BaseException) -> str:
    match cause:
        case asyncpg.InvalidAuthorizationSpecificationError():
            return f"{cause}: correct the user and the password in DATABASE_URL"
        case asyncpg.InvalidCatalogNameError():
            return f"{cause}: create it (createdb), or correct DATABASE_URL"
        case ssl.SSLError():
            return (
                f"no trusted TLS connection ({cause.reason}): correct sslmode or sslrootcert in DATABASE_URL"
            )
        case TimeoutError():
            return "the server does not answer: check host and port in DATABASE_URL"
        case OSError():
            reason = cause.strerror or str(cause)
            return f"no server there ({reason}): start it, correct DATABASE_URL, or unset it to use the built-in one"
        case _:
            return " ".join(str(cause).split()) or type(cause).__name__
