"""``mlp migrate``."""

from __future__ import annotations

import typer

from app.cli.process import log_to_stderr, run_command
from app.database import migrations
from app.settings import Settings, load_settings
from app.wiring import database


def migrate() -> None:
    """Bring the database up to date.

    Every start of a server does this by itself; alone it serves releases which migrate before they roll out.

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
    typer.echo(f"already at {after}" if before == after else f"migrated from {before or 'empty'} to {after}")
    return 0
