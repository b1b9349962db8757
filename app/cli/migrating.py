"""``mlp migrate``."""

from __future__ import annotations

import typer

from app.cli.process import log_to_stderr, run_command
from app.database import migrations
from app.settings import Settings, load_settings
from app.wiring import database


def migrate() -> None:
    """Bring the database up to date.

    Every server does this when it starts. Use the command to migrate before a new release is rolled out.

    Exit codes: 0 up to date, 78 wrong settings.
    """
    settings = load_settings()
    log_to_stderr(settings)
    run_command(lambda interrupts: _migrate(settings))


async def _migrate(settings: Settings) -> int:
    async with database(settings) as (engine, _):
        before = await migrations.current_revision(engine)
        await migrations.upgrade(engine)
        after = await migrations.current_revision(engine)
    origin = f"revision {before}" if before else "an empty database"
    typer.echo(f"already at {origin}" if before == after else f"migrated from {origin} to revision {after}")
    return 0
