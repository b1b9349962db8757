"""``mlp watch``: follows any run to its end."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.following import exit_code, new_console, show_run
from app.cli.process import log_to_stderr, run_command
from app.cli.servers import Url, connection_to, local_address
from app.settings import Settings, load_settings


def watch(
    run_id: Annotated[
        str, typer.Argument(metavar="RUN_ID", help="Global id or UUID of a run.", show_default=False)
    ],
    url: Url = None,
) -> None:
    """Follow a run to its end.

    Ctrl-C stops following; the run continues.

    Exit codes: 0 COMPLETED, 1 FAILED or CANCELLED, 2 no such run, 69 no server, 78 wrong settings.
    """
    settings = load_settings()
    log_to_stderr(settings, quiet=True)
    run_command(lambda interrupts: _watch(settings, run_id, url))


async def _watch(settings: Settings, run_id: str, url: str | None) -> int:
    async with connection_to(url or local_address(settings), settings) as connection:
        return exit_code(await show_run(connection, run_id, new_console()))
