"""Migration of a database to the schema of this release; safe when several processes start at once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_fixed

import app
from app.database.engine import check_reachable
from app.database.outages import is_outage
from app.errors import StartupError

logger = logging.getLogger(__name__)

# Any number, as long as no other program uses the same advisory lock in this database.
_MIGRATION_LOCK = 0x6D6C70
_LOCK_WAIT_SECONDS = 300
_OUTAGE_SECONDS = 60.0
_PAUSE_SECONDS = 0.5


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration, for commands on the given connection."""
    config = Config()
    config.set_main_option("script_location", str(_migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


async def upgrade(engine: AsyncEngine) -> None:
    """Apply all missing migrations. Does nothing on a database that is up to date.

    Retries after an outage of the database. Raises ``StartupError`` if it does not come back, or if a newer release
    has migrated it.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(is_outage),
        stop=stop_after_delay(_OUTAGE_SECONDS),
        wait=wait_fixed(_PAUSE_SECONDS),
        before_sleep=_log_outage,
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            if attempt.retry_state.attempt_number > 1:
                await check_reachable(engine, wait_seconds=_OUTAGE_SECONDS)
            await _apply_missing(engine)


def _log_outage(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    logger.warning("no connection to the database during the migration, trying again: %r", error)


async def _apply_missing(engine: AsyncEngine) -> None:
    if not await pending(engine):
        return
    async with _migration_lock(engine):
        if await pending(engine):
            async with engine.begin() as connection:
                await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                await connection.run_sync(_upgrade)


async def current_revision(engine: AsyncEngine) -> str | None:
    """The revision of the database; None for an empty one."""
    async with engine.connect() as connection:
        return await connection.run_sync(_revision)


async def pending(engine: AsyncEngine) -> bool:
    """Whether migrations are missing. Raises ``StartupError`` if a newer release has migrated the database."""
    current = await current_revision(engine)
    scripts = ScriptDirectory.from_config(alembic_config())
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise StartupError(
            f"the database is at revision {current}, which this release ({scripts.get_current_head()}) does not "
            "know: a newer release has migrated it, so install that one or restore a backup"
        )
    return current != scripts.get_current_head()


def _upgrade(connection: sa.Connection) -> None:
    before = _revision(connection)
    command.upgrade(alembic_config(connection), "head")
    logger.info("migrated the database from %s to %s", before or "empty", _revision(connection))


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@contextlib.asynccontextmanager
async def _migration_lock(engine: AsyncEngine) -> AsyncIterator[None]:
    """Hold the migration lock in a session of its own. The end of the session releases it in any case."""
    async with engine.connect() as session:
        await session.execution_options(isolation_level="AUTOCOMMIT")
        try:
            await session.execute(sa.text(f"SET lock_timeout = '{_LOCK_WAIT_SECONDS}s'"))
            await session.execute(sa.text("SET statement_timeout = 0"))
            await session.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
            yield
        except DBAPIError as error:
            if isinstance(getattr(error.orig, "__cause__", None), asyncpg.LockNotAvailableError):
                raise StartupError(
                    f"another process has been migrating the database for {_LOCK_WAIT_SECONDS} s: end it, try again"
                ) from None
            raise
        finally:
            await session.invalidate()


def _migrations_folder() -> Path:
    """The folder is inside the package in an installed release, and next to it in a source tree."""
    package = Path(app.__file__).parent
    packaged = package / "_migrations"
    return packaged if packaged.exists() else package.parent / "migrations"
