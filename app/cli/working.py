"""``mlp work``: the supervisor without the API, until a signal stops it. It does not load the graph."""

from __future__ import annotations

import asyncio

from app.cli.process import log_to_stderr, run_command
from app.settings import Settings, load_settings
from app.wiring import work as work_until_cancelled


def work() -> None:
    """Execute runs without serving the API.

    It claims stages from the database of DATABASE_URL, or from the built-in one under MLP_HOME. SIGTERM or Ctrl-C
    stops it; stages that are running continue, and the next start adopts them.

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
