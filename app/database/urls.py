"""Database URLs: which ones are accepted, the arguments for asyncpg, and how to log them."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

DRIVER_NAME = "postgresql+asyncpg"
CONNECT_TIMEOUT_SECONDS = 10.0

_SCHEMES = frozenset({"postgresql", "postgres", DRIVER_NAME})
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_SECRET_PARAMETERS = frozenset({"password", "sslpassword"})
# libpq has these parameters and asyncpg does not: harmless unless they require a protection we can't provide.
_UNSUPPORTED_PROTECTIONS = frozenset({"channel_binding", "gssencmode"})


def normalised(url: str | URL) -> str:
    """The URL in SQLAlchemy's form for asyncpg. Raises ``ValueError``, whose message contains no secret."""
    parsed = _parsed(url)
    driver_arguments(url)
    return parsed.set(drivername=DRIVER_NAME).render_as_string(hide_password=False)


def masked(url: str | URL) -> str:
    """The URL without passwords, for logs and error messages."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "an unreadable URL"
    return parsed.difference_update_query(_SECRET_PARAMETERS).render_as_string(hide_password=True)


def driver_arguments(url: str | URL) -> dict[str, Any]:
    """Keyword arguments for ``asyncpg.connect``, which interprets most parameters of libpq itself."""
    parsed = _parsed(url)
    query = {name: _single(name, value) for name, value in parsed.query.items()}
    arguments: dict[str, Any] = {"timeout": _connect_timeout(query.pop("connect_timeout", None))}
    if "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    if query.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(sorted(_SSL_MODES))}")
    for name in _UNSUPPORTED_PROTECTIONS & query.keys():
        if query.pop(name) == "require":
            raise ValueError(
                f"{name}=require is not supported by the driver: remove it, sslmode=verify-full protects"
            )
    plain = parsed.set(drivername="postgresql", query=query)
    return arguments | {"dsn": plain.render_as_string(hide_password=False)}


def _parsed(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("must look like postgresql://user:password@host:5432/name") from None
    if parsed.drivername not in _SCHEMES:
        raise ValueError(
            f"must start with postgresql://, not {parsed.drivername}:// (only PostgreSQL is supported)"
        )
    return parsed


def _single(name: str, value: str | tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the parameter {name} is given twice")
    return value


def _connect_timeout(seconds: str | None) -> float:
    if seconds is None:
        return CONNECT_TIMEOUT_SECONDS
    try:
        return float(seconds)
    except ValueError:
        raise ValueError("connect_timeout must be a number of seconds") from None
