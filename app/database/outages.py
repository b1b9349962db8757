"""Errors of an unreachable, overloaded or busy database, as its callers see them."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_TEMPORARY_SQLSTATES = ("08", "40", "53", "55P03", "57")
"""Classes (two characters) and codes: lost connection, rollback by a deadlock, no memory or disk space, lock timeout,
shutdown or statement timeout."""
_QUERY_CANCELED = "57014"


def is_outage(error: BaseException) -> bool:
    """Whether the same statement may succeed later, unchanged."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _sqlstate(error).startswith(_TEMPORARY_SQLSTATES)
    # Errors of connecting are not wrapped by SQLAlchemy; engine.py converts every OSError to one of these.
    return isinstance(error, ConnectionError | TimeoutError | asyncpg.PostgresError | asyncpg.InterfaceError)


def is_timeout(error: DBAPIError) -> bool:
    """Whether the statement was cancelled because it exceeded ``statement_timeout``."""
    return _sqlstate(error) == _QUERY_CANCELED


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None))
