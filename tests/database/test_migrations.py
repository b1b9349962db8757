"""Migrations: they create the tables of the code and remove them, also when several processes start at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import migrations
from app.database.engine import create_engine
from app.database.tables import metadata
from app.errors import StartupError
from tests.postgres_proxy import PostgresProxy

ROOT = Path(__file__).parents[2]
TABLES = sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
# Everything that has a definition of its own, as PostgreSQL prints it.
DEFINITIONS = {
    "constraints": "SELECT conrelid::regclass::text || ' ' || conname, pg_get_constraintdef(oid) "
    "FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "columns": "SELECT table_name || '.' || column_name, concat_ws(' ', data_type, character_maximum_length, "
    "is_nullable, column_default, is_generated, generation_expression) "
    "FROM information_schema.columns WHERE table_schema = 'public'",
    "triggers": "SELECT tgrelid::regclass::text || ' ' || tgname, pg_get_triggerdef(oid) "
    "FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT oid::regprocedure::text, pg_get_functiondef(oid) FROM pg_proc "
    "WHERE pronamespace = 'public'::regnamespace",
    "sequences": "SELECT sequencename, data_type::text FROM pg_sequences WHERE schemaname = 'public'",
}


@pytest.fixture
async def empty_engine(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(empty_database_url)
    yield engine
    await engine.dispose()


async def definitions(engine: AsyncEngine) -> dict[str, dict[str, str]]:
    """Kind of object -> name -> definition, without Alembic's own table."""
    async with engine.connect() as connection:
        return {
            kind: {
                name: text
                for name, text in await connection.execute(sa.text(query))
                if not name.startswith("alembic_version")
            }
            for kind, query in DEFINITIONS.items()
        }


async def test_migrations_create_the_tables_of_the_code(engine: AsyncEngine) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrations_define_every_object_as_the_code_does(
    engine: AsyncEngine, empty_engine: AsyncEngine
) -> None:
    async with empty_engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    migrated, created = await definitions(engine), await definitions(empty_engine)
    assert migrated.keys() == created.keys()
    for kind in created:
        assert migrated[kind] == created[kind]
    assert len(created["constraints"]) > 50


async def test_downgrades_leave_no_object_and_upgrades_work_again(engine: AsyncEngine) -> None:
    before = await definitions(engine)
    async with engine.begin() as connection:
        await connection.run_sync(lambda link: command.downgrade(migrations.alembic_config(link), "base"))
        assert list(await connection.scalars(TABLES)) == ["alembic_version"]
    await migrations.upgrade(engine)
    assert await definitions(engine) == before


async def test_an_upgrade_logs_what_it_did_and_the_next_one_does_nothing(
    empty_engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "app.database.migrations")
    assert await migrations.current_revision(empty_engine) is None
    assert await migrations.pending(empty_engine)
    await migrations.upgrade(empty_engine)
    assert not await migrations.pending(empty_engine)
    revision = await migrations.current_revision(empty_engine)
    assert caplog.messages == [f"migrated the database from empty to {revision}"]
    await migrations.upgrade(empty_engine)
    assert len(caplog.messages) == 1


async def test_two_processes_that_start_at_once_migrate_only_once(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "app.database.migrations")
    starters = [create_engine(empty_database_url, pool_size=1) for _ in range(4)]
    await asyncio.gather(*map(migrations.upgrade, starters))
    assert len(caplog.messages) == 1
    assert not await migrations.pending(starters[0])
    for starter in starters:
        await starter.dispose()


async def test_a_failed_migration_releases_the_lock_and_changes_nothing(empty_engine: AsyncEngine) -> None:
    async with empty_engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE artifacts (mine int)"))
    with pytest.raises(sa.exc.ProgrammingError, match=r"artifacts.* already exists"):
        await migrations.upgrade(empty_engine)
    async with empty_engine.begin() as connection:
        assert list(await connection.scalars(TABLES)) == ["artifacts"]
        await connection.execute(sa.text("DROP TABLE artifacts"))
    await asyncio.wait_for(migrations.upgrade(empty_engine), timeout=30)


async def test_the_wait_for_another_migration_ends_with_an_error(
    empty_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_LOCK_WAIT_SECONDS", 0.1)
    async with migrations._migration_lock(empty_engine):
        with pytest.raises(StartupError, match="another process has been migrating"):
            await migrations.upgrade(empty_engine)


async def test_a_database_of_a_newer_release_is_refused(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    for step in (migrations.upgrade, migrations.pending):
        with pytest.raises(StartupError, match=r"revision from_the_future.* a newer release has migrated it"):
            await step(engine)


async def test_an_outage_before_the_migration_is_waited_out(empty_database_url: str) -> None:
    async with PostgresProxy(empty_database_url) as proxy:
        engine = create_engine(proxy.url)
        proxy.refusals = 2
        await migrations.upgrade(engine)
        assert proxy.refusals == 0
        assert not await migrations.pending(engine)
        await engine.dispose()


def alembic(*arguments: str, **variables: str) -> str:
    """The output of the ``alembic`` command with these environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


async def test_the_alembic_command_migrates_the_database_of_the_settings(empty_database_url: str) -> None:
    await asyncio.to_thread(alembic, "upgrade", "head", DATABASE_URL=empty_database_url)
    await asyncio.to_thread(alembic, "check", DATABASE_URL=empty_database_url)


async def test_the_alembic_command_starts_the_built_in_database_without_database_url(mlp_home: Path) -> None:
    await asyncio.to_thread(alembic, "upgrade", "head", MLP_HOME=str(mlp_home), DATABASE_URL="")
    assert "(head)" in await asyncio.to_thread(alembic, "current", MLP_HOME=str(mlp_home), DATABASE_URL="")


def test_the_alembic_command_prints_sql_without_a_database() -> None:
    assert "CREATE TABLE pipelines" in alembic(
        "upgrade", "head", "--sql", DATABASE_URL="postgresql://u@nowhere.invalid/d"
    )
