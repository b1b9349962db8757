"""What an unreachable or overloaded database looks like to whoever asked it something."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_PASSING_SQLSTATES = ("08", "40", "53", "55P03", "57")
"""Lost connection, rolled back for another's sake (deadlock), lack of room or memory, a lock that others hold,
shutdown or time-out: codes, or classes of them."""
_QUERY_CANCELED = "57014"


def is_outage(error: BaseException) -> bool:
    """Whether the same statement may succeed later, without anybody having changed it."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _sqlstate(error).startswith(_PASSING_SQLSTATES)
    # Errors of connecting reach us as they are, not wrapped; engine.py makes every OSError among them one of these.
    return isinstance(error, ConnectionError | TimeoutError | asyncpg.PostgresError | asyncpg.InterfaceError)


def is_timeout(error: DBAPIError) -> bool:
    """Whether the database gave up a statement because it took too long."""
    return _sqlstate(error) == _QUERY_CANCELED


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None))
