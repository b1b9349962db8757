"""``mlp work``: the supervisor alone, until it is told to stop. It needs no graph, and so does not load it."""

from __future__ import annotations

import asyncio

from app.cli.process import log_to_stderr, run_command
from app.settings import Settings, load_settings
from app.wiring import work as work_until_cancelled


def work() -> None:
    """Execute runs without serving the API.

    SIGTERM or Ctrl-C stops it. Works on the database of DATABASE_URL, or on the built-in one under MLP_HOME.

    Exit codes: 0 stopped by a signal, 78 wrong settings.
    """
    settings = load_settings()
    log_to_stderr(settings)
    run_command(lambda interrupts: _work(settings))


async def _work(settings: Settings) -> int:
    try:
        await work_until_cancelled(settings)
    except asyncio.CancelledError:
        return 0
    return 1
