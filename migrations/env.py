"""The environment of Alembic: migrates the connection it is given, or else the database of the settings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from logging.config import fileConfig

import sqlalchemy as sa
from alembic import context

from app.database.engine import create_engine
from app.database.tables import metadata
from app.postgres.server import EmbeddedPostgres
from app.settings import load_settings


def migrate(connection: sa.Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


def write_sql() -> None:
    """``alembic upgrade --sql``: print the statements instead of executing them."""
    context.configure(
        dialect_name="postgresql",
        target_metadata=metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_configured_database() -> None:
    async with configured_url() as url:
        engine = create_engine(url, statement_timeout_seconds=0)
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
            await connection.commit()
        await engine.dispose()


@contextlib.asynccontextmanager
async def configured_url() -> AsyncIterator[str]:
    settings = load_settings()
    if settings.database_url:
        yield settings.database_url
        return
    async with EmbeddedPostgres(settings.home) as url:
        yield url


given_connection = context.config.attributes.get("connection")
if context.config.config_file_name:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)
if given_connection is not None:
    migrate(given_connection)
elif context.is_offline_mode():
    write_sql()
else:
    asyncio.run(migrate_configured_database())
